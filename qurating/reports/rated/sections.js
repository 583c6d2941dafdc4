// The parts of the page but the explorer. Each shows tables of the analysis, or says what to run for one that is absent.
"use strict";

const FACTS = JSON.parse(byId("facts").textContent);
const ABOUT = FACTS.about;
const rowsOf = (name) => FACTS.tables[name] ?? [];

/** Which artifacts (keys of about.json's `artifacts`) a table is made of, besides the corpus. */
const MADE_OF = {
  by_group: ["ratings"], variance: ["ratings"], preferences: ["ratings", "judgments"], first_window: ["ratings"],
  correlations: ["ratings", "annotations"], clusters: ["ratings"], percentiles: ["ratings"], retention: ["subsets"], overlap: ["subsets"],
  temperatures: ["ratings"], normalisation: ["ratings"], duplicates: ["checks"], judge: ["judgments"], judge_compared: ["judgments"],
  rater_accuracy: ["raters"], rater_calibration: ["raters"], scorer: ["scorers"], annotated: ["annotations", "ratings"],
  results: ["evaluations", "checks"], curves: ["evaluations"],
};

const artifactsOf = (kind) => ABOUT.artifacts?.[kind] ?? [];

/** The label of a subset, which is shorter than its name; the name where two have the same label. */
function subsetName(name) {
  const labels = ABOUT.subset_labels ?? {};
  const isUnique = Object.values(labels).filter((label) => label === labels[name]).length === 1;
  return named(isUnique ? labels[name] : name);
}

const MAX_LINKS = 4; // to the artifacts of a kind, below a part

/** Where the numbers of a part come from: its tables, and links to the manifests. */
function source(...tables) {
  const links = unique(["corpus", ...tables.flatMap((name) => MADE_OF[name])]).flatMap((kind) => {
    const names = artifactsOf(kind);
    if (names.length > MAX_LINKS) return [element("a", { href: "#provenance" }, `${names.length} ${kind}`)];
    return names.map((name) => element("a", { href: `#manifest=${encodeURIComponent(plain(name))}` }, name));
  });
  const files = tables.map((name) => element("code", {}, `tables/${name}.parquet`));
  return element("p", { class: "source" }, "From ", separated(files), links.length ? [" of ", separated(links)] : "", ".");
}

const separated = (nodes) => nodes.flatMap((node, place) => (place ? [", ", node] : [node]));

/** A part with a heading; where none of its tables is there, what to run. */
function part(heading, tables, content) {
  const isThere = tables.some((name) => FACTS.tables[name]);
  const body = isThere
    ? [content(), source(...tables.filter((name) => FACTS.tables[name]))]
    : element("p", { class: "absent" }, FACTS.missing[tables[0]]);
  return element("section", { class: "part" }, element("h2", {}, heading), body);
}

/** What of a grouping is shown: all groups, or the largest. */
function shownGroups(grouping) {
  const groups = FACTS.groups[grouping];
  if (!groups || groups.num <= groups.shown.length) return "";
  return `The ${groups.shown.length} largest of ${whole(groups.num)} by tokens are shown.`;
}

/** Decimals of ratings, by how far those of a criterion spread. */
const digitsOf = new Map(FACTS.criteria.map((criterion) => {
  const rows = rowsOf("by_group").filter((row) => row.criterion === criterion);
  const spread = Math.max(...rows.map((row) => row.p95 ?? 0)) - Math.min(...rows.map((row) => row.p5 ?? 0));
  return [criterion, spread > 0 && spread < 2 ? (spread < 0.1 ? 4 : 3) : 2];
}));
const rated = (value, criterion) => decimal(value, digitsOf.get(criterion) ?? 2);

/** Groupings to choose from; that of all sequences together is none. */
const groupingsOf = (rows) => unique(rows.map((row) => row.grouping)).filter((name) => name !== "all");

const criterionOptions = (rows) => unique(rows.map((row) => row.criterion)).map((name) => [name, named(name)]);

// --- overview

function overview() {
  return [
    element("section", { class: "part first" },
      element("h2", { class: "plain" }, "What to believe"),
      element("ol", { class: "believe" }, FACTS.sentences.map((sentence) => element("li", {}, sentence))), warnings(3)),
    element("section", { class: "part" }, element("h2", {}, "Criteria"), trustTable()),
    element("section", { class: "part" },
      differencesFigure("Did it help?")?.node, ratingsByGroup("Ratings by domain").node, retentionFigure("What a selection takes").node,
      !evaluated().some((row) => known(row.difference)) && explainedFigure(["domain", "length"]).node,
      source(...["by_group", "variance", "preferences", "first_window", "normalisation", "retention", "results"].filter((name) => FACTS.tables[name]))),
  ];
}

/** The first warnings of the analysis. */
function warnings(number) {
  if (!FACTS.warnings.length) return null;
  return element("div", { class: "banner quiet-banner", role: "note" }, element("strong", {}, several(FACTS.warnings.length, "warning")),
    element("ul", {}, FACTS.warnings.slice(0, number).map((text) => element("li", {}, text))),
    FACTS.warnings.length > number && element("a", { href: "#provenance" }, "All of them"));
}

function trustTable() {
  const one = (name, criterion, more = {}) =>
    rowsOf(name).find((row) => row.criterion === criterion && Object.entries(more).every(([key, value]) => row[key] === value)) ?? {};
  const auc = (criterion, where) => {
    const row = one("preferences", criterion, { where });
    return known(row.auc) ? [decimal(row.auc), where === "within" && known(row.low) ? element("span", { class: "soft" }, ` [${decimal(row.low)}, ${decimal(row.high)}]`) : ""] : "–";
  };
  const columns = [
    ["Criterion", (name) => named(name), "name"],
    ["Tells apart", (name) => FACTS.verdicts[name], "name"],
    ["Explained by domain (η²)", (name) => percent(one("variance", name, { explained_by: "domain" }).eta_squared)],
    ["By length (η²)", (name) => percent(one("variance", name, { explained_by: "length" }).eta_squared)],
    ["AUC within domains", (name) => auc(name, "within")],
    ["AUC across", (name) => auc(name, "across")],
    ["First window and mean (r)", (name) => decimal(one("first_window", name).pearson)],
    ["Changed by normalising", (name) => percent(one("normalisation", name).share_changed)],
  ];
  if (!FACTS.criteria.length) return element("p", { class: "absent" }, FACTS.missing.by_group);
  return [table(columns, FACTS.criteria), element("p", { class: "soft" },
    "η²: the share of the variance of ratings that the domain, or the length, explains; where the domain explains most, ratings sort sources. ",
    "AUC: how often the rating agrees with the judge on which of two texts is better; 0.5 is chance. ",
    "Changed by normalising: the share of a top-k selection that would be another if ratings were compared within each domain.")];
}

// --- criteria

function ratingsByGroup(heading, isHeadingShown = true) {
  const rows = rowsOf("by_group");
  if (!rows.length) return { node: element("p", { class: "absent" }, FACTS.missing.by_group ?? "There are no ratings.") };
  const groupings = groupingsOf(rows);
  const state = { criterion: rows[0].criterion, grouping: groupings.includes("domain") ? "domain" : groupings[0] };
  const caption = element("span");
  const describe = () => caption.replaceChildren(visible(
    `Each line: the 5th to the 95th percentile of a ${named(state.grouping)}'s ratings, the bar: the middle half, the tick: the median. ${shownGroups(state.grouping)}`));
  describe();
  const made = figure(heading, caption,
    () => spread(rows.filter((row) => row.criterion === state.criterion && row.grouping === state.grouping)),
    [
      choice("Criterion", criterionOptions(rows), (value) => { state.criterion = value; made.redraw(); }),
      groupings.length > 1 && choice("By", groupings.map((name) => [name, named(name)]), (value) => { state.grouping = value; describe(); made.redraw(); }, state.grouping),
    ], isHeadingShown);
  return made;
}

function criteria() {
  return [
    part("Ratings by group", ["by_group"], () => [ratingsByGroup("Ratings by group", false).node, numbersByGroup()]),
    part("Documents at percentiles", ["percentiles"], examples),
    part("Topics", ["clusters"], clusters),
  ];
}

function numbersByGroup() {
  const columns = [
    ["Grouping", (row) => named(row.grouping), "name"], ["Group", (row) => row.group, "name"], ["Criterion", (row) => named(row.criterion), "name"],
    ["Sequences", (row) => whole(row.num)], ["Tokens", (row) => short(row.tokens)], ["Mean", (row) => rated(row.mean, row.criterion)],
    ["Deviation", (row) => rated(row.sd, row.criterion)], ["Distinct values", (row) => whole(row.distinct)],
    ...["p5", "p50", "p95"].map((name) => [name, (row) => rated(row[name], row.criterion)]),
  ];
  return folded("All numbers", () => table(columns, rowsOf("by_group")));
}

/** Content that is made when it is opened for the first time. */
function folded(summary, content) {
  const made = element("details", { toggle: () => made.children.length === 1 && made.append(element("div", {}, content())) }, element("summary", {}, summary));
  return made;
}

function examples() {
  // of smaller domains the analysis has taken no texts
  const rows = rowsOf("percentiles").filter((row) => EXPLORER.placeOf(row.id) !== undefined);
  if (!rows.length) return element("p", { class: "absent" }, "None of these documents is in this page.");
  const state = { criterion: rows[0]?.criterion, domain: null };
  const cards = element("div", { class: "cards" });
  const domains = element("div");
  const show = () => cards.replaceChildren(...rows
    .filter((row) => row.criterion === state.criterion && row.domain === state.domain)
    .sort((a, b) => a.percentile - b.percentile).map(exampleCard));
  const change = (criterion) => {
    state.criterion = criterion;
    const names = unique(rows.filter((row) => row.criterion === criterion).map((row) => row.domain));
    if (!names.includes(state.domain)) state.domain = names[0];
    domains.replaceChildren(choice("Domain", names.map((name) => [name, name]), (value) => { state.domain = value; show(); }, state.domain));
    show();
  };
  change(state.criterion);
  return [
    element("p", { class: "soft" }, "A sequence near each percentile of the ratings within its domain."),
    element("div", { class: "controls" }, choice("Criterion", criterionOptions(rows), change), domains), cards,
  ];
}

function exampleCard(row) {
  const place = EXPLORER.placeOf(row.id);
  const head = element("header", {}, element("b", {}, `${decimal(row.percentile, 0)}th percentile`), ` · rating ${rated(row.rating, row.criterion)}`);
  return element("article", { class: "card" }, head, element("p", { class: "excerpt" }, EXPLORER.excerpt(place, 220)),
    element("button", { type: "button", class: "quiet", click: () => EXPLORER.open(place) }, "Read it"));
}

function clusters() {
  const means = rowsOf("by_group").filter((row) => row.grouping === "cluster");
  const mean = (cluster, criterion) => means.find((row) => row.group === cluster && row.criterion === criterion)?.mean;
  const columns = [
    ["Topic", (row) => element("a", { href: "#documents", click: () => EXPLORER.choose({ cluster: row.cluster }) }, row.cluster), "name"],
    ["Its terms", (row) => (Array.isArray(row.top_terms) ? row.top_terms.join(", ") : row.top_terms), "name"],
    ["Sequences", (row) => whole(row.num)],
    ...(means.length ? FACTS.criteria.map((criterion) => [`${named(criterion)}, mean`, (row) => rated(mean(row.cluster, criterion), criterion)]) : []),
  ];
  return [table(columns, rowsOf("clusters")), element("p", { class: "soft" }, "A topic opens its documents. ", shownGroups("cluster"))];
}

// --- selections

/** The subset to show first: that of the best method that is not uniform. */
const telling = (subsets) => {
  const best = rowsOf("results").filter((row) => !row.is_uniform && known(row.loss)).sort((a, b) => a.loss - b.loss)[0]?.method;
  return subsets.find((name) => best && subsetName(name).startsWith(named(best))) ?? subsets.find((name) => !/uniform/.test(name)) ?? subsets[0];
};

function retentionFigure(heading, isHeadingShown = true) {
  const rows = rowsOf("retention");
  if (!rows.length) return { node: element("p", { class: "absent" }, FACTS.missing.retention ?? "There are no subsets.") };
  const subsets = unique(rows.map((row) => row.subset)), groupings = groupingsOf(rows);
  const state = { subset: telling(subsets), grouping: groupings.includes("domain") ? "domain" : groupings[0], isMixture: true };
  const caption = element("span");
  const describe = () => caption.replaceChildren(visible(`${state.isMixture
    ? "Where the points lie apart, the selection changes the mixture."
    : "How much of each group the selection keeps, beside what it keeps of all groups together: the lowest are left out most."} ${shownGroups(state.grouping)}`));
  describe();
  const made = figure(heading, caption,
    () => (state.isMixture ? retained : kept)(rows.filter((row) => row.subset === state.subset && row.grouping === state.grouping)),
    [
      choice("Show", [["mixture", "shares of the mixture"], ["kept", "what is kept of each"]], (value) => { state.isMixture = value === "mixture"; describe(); made.redraw(); }),
      choice("Selection", subsets.map((name) => [name, subsetName(name)]), (value) => { state.subset = value; made.redraw(); }, state.subset),
      groupings.length > 1 && choice("By", groupings.map((name) => [name, named(name)]), (value) => { state.grouping = value; describe(); made.redraw(); }, state.grouping),
    ], isHeadingShown);
  return made;
}

function selections() {
  return [
    part("What a selection takes", ["retention"], () => retentionFigure("What a selection takes of each group", false).node),
    part("From top-k to uniform", ["temperatures"], temperatures),
    part("Overlap, beside chance", ["overlap"], () => overlaps().node),
    part("Duplicates and contamination", ["duplicates"], () => table([
      ["Selection", (row) => subsetName(row.subset), "name"], ["Near duplicates", (row) => percent(row.near_duplicate_share, 1)],
      ["Contaminated", (row) => percent(row.contaminated_share, 1)],
    ], rowsOf("duplicates"))),
  ];
}

/** All pairs of subsets; of many, those of one with each other. */
function overlaps() {
  const rows = rowsOf("overlap"), subsets = unique(rows.flatMap((row) => [row.first, row.second]));
  const isMany = rows.length > 10, state = { subset: telling(subsets) };
  const ofOne = () => rows.filter((row) => [row.first, row.second].includes(state.subset));
  const made = figure("Shared tokens, beside chance", "Tokens that both have, of those that either has. Two subsets drawn at random share as much as the grey points say.",
    () => (isMany ? overlapping(ofOne(), state.subset) : overlapping(rows)),
    isMany ? [choice("Selection", subsets.map((name) => [name, subsetName(name)]), (value) => { state.subset = value; made.redraw(); }, state.subset)] : [], false);
  return made;
}

const heat = (temperature) => (temperature === "inf" ? Infinity : temperature);

function temperatures() {
  const rows = rowsOf("temperatures");
  const steps = unique(rows.map((row) => heat(row.temperature))).sort((a, b) => a - b);
  const state = { criterion: rows[0]?.criterion, step: 0 };
  const uniform = new Map(rows.filter((row) => heat(row.temperature) === Infinity && row.criterion === state.criterion).map((row) => [row.domain, row.share]));
  const order = unique(rows.map((row) => row.domain)).sort((a, b) => (uniform.get(b) ?? 0) - (uniform.get(a) ?? 0));
  const isCut = FACTS.groups.domain && FACTS.groups.domain.num > FACTS.groups.domain.shown.length;
  const mixed = () => {
    const shares = new Map(rows.filter((row) => row.criterion === state.criterion && heat(row.temperature) === steps[state.step]).map((row) => [row.domain, row.share]));
    const row = (domain, share, corpus) => ({
      domain, share, uniform: corpus, told: `${percent(share, 1)}; of the corpus ${percent(corpus, 1)}`,
    });
    const rest = (of) => Math.max(0, 1 - order.reduce((sum, domain) => sum + (of.get(domain) ?? 0), 0));
    const others = isCut ? [row("all others", rest(shares), rest(uniform))] : [];
    return labelled([...order.map((domain) => row(domain, shares.get(domain) ?? 0, uniform.get(domain) ?? null)), ...others], "domain", String);
  };
  const name = () => ({ 0: "top-k", Infinity: "uniform" })[steps[state.step]] ?? `τ = ${Number(steps[state.step].toPrecision(3))}`;
  const output = element("output", { for: "temperature", class: "big" }, name());
  const slider = element("input", {
    type: "range", id: "temperature", min: 0, max: steps.length - 1, step: 1, value: 0, "aria-valuetext": name(),
    input: () => {
      state.step = Number(slider.value);
      output.textContent = name();
      slider.setAttribute("aria-valuetext", name());
      made.update();
    },
  });
  const largest = Math.max(...rows.map((row) => row.share), 0.05);
  const drawn = figure("The mixture at a temperature", element("span", {}, "Bars: the share of each domain in a selection of the given size. Ticks: its share of the corpus. ", shownGroups("domain")),
    () => mixture(mixed(), largest), [], false);
  const item = figures.at(-1);
  const made = { update: () => item.view?.data("mixture", mixed()).runAsync() };
  return [
    element("p", { class: "soft" }, "A selection by rating / τ with Gumbel noise: at 0 it takes the highest ratings, the higher τ, the more it resembles a random draw."),
    element("div", { class: "controls wide" },
      choice("Criterion", criterionOptions(rows), (value) => { state.criterion = value; made.update(); }),
      element("span", { class: "field" }, element("label", { for: "temperature" }, "Temperature τ"), element("span", { class: "range" }, "top-k", slider, "uniform")), output),
    drawn.node,
  ];
}

// --- provenance

function provenance() {
  const manifests = Object.values(ABOUT.manifests ?? {}).flatMap((of) => Object.entries(of));
  const { manifests: _, ...rest } = ABOUT;
  return [
    element("section", { class: "part" }, element("h2", {}, "Warnings"), FACTS.warnings.length
      ? element("ul", {}, FACTS.warnings.map((warning) => element("li", {}, warning)))
      : element("p", { class: "soft" }, "The analysis has found nothing to warn of.")),
    element("section", { class: "part" }, element("h2", {}, "The analysis"), element("pre", { class: "json" }, JSON.stringify(rest, null, 1))),
    element("section", { class: "part" }, element("h2", {}, "Manifests"),
      element("p", { class: "soft" }, "What each artifact was made of, by which settings and versions. Long lists of files are cut; manifest.json in the artifact's folder has all."),
      manifests.length ? manifests.map(([name, manifest]) => {
        const made = folded(name, () => element("pre", { class: "json" }, JSON.stringify(manifest, null, 1)));
        made.dataset.manifest = plain(name); // an address holds no surrogate without a partner
        return made;
      }) : element("p", { class: "absent" }, "about.json names no manifests.")),
  ];
}

/** Open the manifest of an artifact; returns whether there is one. */
function openManifest(name) {
  const found = [...document.querySelectorAll("details[data-manifest]")].find((each) => each.dataset.manifest === name);
  if (found) {
    found.open = true;
    found.scrollIntoView({ block: "start" });
    found.firstElementChild.focus();
  }
  return Boolean(found);
}
