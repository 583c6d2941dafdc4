// The part Trust: whether ratings tell texts apart, and how good the judge, the rater and the scorer are.
"use strict";

function trust() {
  return [
    part("Texts or sources", ["variance"], () => explainedFigure(null, false).node),
    part("Within a domain", ["preferences"], () => (!rowsOf("preferences").some((row) => known(row.auc))
      ? element("p", { class: "absent" }, "Too few judged pairs have ratings: run the stage judge with more pairs.")
      : figure("The judge's preferences, within a domain and across domains",
      "How often the text with the higher rating is the one that the judge prefers. The distance between the points is what the source alone tells.",
      () => preferences(rowsOf("preferences")), [], false).node)),
    part("The judge", ["judge", "judge_compared"], judgePart),
    part("The rater", ["rater_accuracy", "rater_calibration"], raterPart),
    part("The scorer (LQS)", ["scorer", "annotated"], scorerPart),
    part("Few distinct values", ["by_group"], fewValues),
    part("The beginning of a document", ["first_window"], () => table([
      ["Criterion", (row) => named(row.criterion), "name"], ["Documents of several windows", (row) => whole(row.num_documents)],
      ["Correlation of the first window with the mean", (row) => decimal(row.pearson)],
      ["Mean difference, in standard deviations", (row) => decimal(row.mean_absolute_difference_sd)],
    ], rowsOf("first_window"))),
    part("Normalising by domain", ["normalisation"], () => table([
      ["Criterion", (row) => named(row.criterion), "name"], ["Share of a top-k selection that would be another", (row) => percent(row.share_changed, 1)],
    ], rowsOf("normalisation"))),
    part("Correlations", ["correlations"], correlations),
  ];
}

// --- the ratings

function explainedFigure(only = null, isHeadingShown = true) {
  const rows = rowsOf("variance").filter((row) => !only || only.includes(row.explained_by));
  if (!rows.length) return { node: element("p", { class: "absent" }, FACTS.missing.variance ?? "There are no shares of variance.") };
  return figure("What explains the ratings",
    "η² of one-way analyses of variance, each factor alone. A criterion whose ratings the domain explains sorts sources, whatever the text.",
    () => explained(rows), [], isHeadingShown);
}

function fewValues() {
  const least = rowsOf("by_group").filter((row) => row.grouping === "domain" && row.num > 1 && 2 * row.distinct < row.num)
    .sort((a, b) => a.distinct / a.num - b.distinct / b.num).slice(0, 8);
  if (!least.length) return element("p", { class: "soft" }, "No domain that is shown repeats half of its ratings.");
  return [element("p", { class: "soft" }, "The domains whose ratings repeat most. Few values in many sequences: within such a domain a selection is close to random."),
    table([
      ["Domain", (row) => row.group, "name"], ["Criterion", (row) => named(row.criterion), "name"], ["Sequences", (row) => whole(row.num)],
      ["Distinct values", (row) => whole(row.distinct)], ["Standard deviation", (row) => rated(row.sd, row.criterion)],
    ], least)];
}

function correlations() {
  const state = { kind: "spearman" };
  const made = figure("Correlations between columns", "Blue is positive, orange negative; the stronger, the more colour.",
    () => correlated(rowsOf("correlations"), state.kind),
    [choice("Coefficient", [["spearman", "Spearman (ranks)"], ["pearson", "Pearson"]], (value) => { state.kind = value; made.redraw(); })], false);
  return made.node;
}

// --- the judge, the rater, the scorer

const soft = (...text) => element("p", { class: "soft" }, ...text);

/** A share or a correlation with its 95 % interval. */
const measured = (value, row, shown = percent) =>
  (known(value) ? [shown(value), known(row.low) ? element("span", { class: "soft" }, ` [${shown(row.low)}, ${shown(row.high)}]`) : ""] : "–");

/** A table without the columns that have nothing in any row; the first one is the name. */
function tableOfKnown(columns, rows) {
  return table(columns.filter(([, , kind, isKnown]) => kind === "name" || rows.some(isKnown)), rows);
}

/** Rows that are of several artifacts get its name as a column. */
const sourceColumn = (rows, key, heading) => (unique(rows.map((row) => row[key])).length > 1 ? [[heading, (row) => row[key], "name"]] : []);

/** In the order of the criteria of the page; those that it does not have come last. */
function byCriterion(rows) {
  const place = (row) => (FACTS.criteria.indexOf(row.criterion) + 1 || FACTS.criteria.length + 1);
  return [...rows].sort((a, b) => place(a) - place(b));
}

const ofAll = (rows) => byCriterion(rows.filter((row) => row.grouping === "all"));

function judgePart() {
  const rows = rowsOf("judge"), whole_ = ofAll(rows);
  const columns = [
    ["Criterion", (row) => named(row.criterion), "name"], ...sourceColumn(whole_, "judgments", "Judgments"),
    ...[
      ["num_pairs", "Judged pairs", (row) => whole(row.num_pairs)],
      ["orders_agree", "Both orders agree", (row) => measured(row.orders_agree, row)],
      ["positional_bias", "Favours the first text by", (row) => percent(row.positional_bias, 1)],
      ["confident", "Confident pairs", (row) => percent(row.confident)],
      ["longer_preferred", "Prefers the longer text", (row) => percent(row.longer_preferred)],
      ["transitive", "Triples without a cycle", (row) => (known(row.transitive) ? `${percent(row.transitive)} of ${whole(row.num_triples)}` : "–")],
      ["kendall_tau", "Agrees with people (τ)", (row) => (known(row.kendall_tau) ? `${decimal(row.kendall_tau)}, ${several(row.num_ranked, "text")}` : "–")],
    ].map(([key, heading, cell]) => [heading, cell, undefined, (row) => known(row[key])]),
  ];
  return [
    tableOfKnown(columns, whole_),
    soft("Each pair is shown in both orders: a judge that looks at the texts prefers the same one; guessing agrees in 50 %. Confident: |2p − 1| ≥ 0.5 for its probability p; from these pairs a rater learns."),
    ordersFigure(rows), ...comparedWith(),
  ];
}

function ordersFigure(rows) {
  const agreeing = rows.filter((row) => known(row.orders_agree));
  if (!agreeing.length) return soft("These judgments do not say whether the two orders of a pair agree.");
  const criteria = unique(byCriterion(agreeing).map((row) => row.criterion));
  const hasDomains = agreeing.some((row) => row.grouping === "domain");
  const state = { of: "", judgments: agreeing[0].judgments };
  const own = () => agreeing.filter((row) => row.judgments === state.judgments);
  const shown = () => (state.of === ""
    ? labelled(ofAll(own()), "criterion")
    : labelled(own().filter((row) => row.grouping === "domain" && row.criterion === criteria[state.of]), "group", String));
  const made = figure("How often the two orders of a pair agree", "Points: the share of pairs; lines: 95 % intervals; dotted: 50 %, as by guessing. A domain has the pairs with a text of it; at most the 30 with most pairs are shown.",
    () => intervals(shown().map((row) => ({ ...row, value: row.orders_agree })), "Pairs whose orders agree", 0.5),
    [artifactChoice("Judgments", agreeing, "judgments", (value) => { state.judgments = value; made.redraw(); }),
      hasDomains && choice("Show", [["", "all criteria"], ...criteria.map((name, place) => [String(place), `domains, by ${named(name)}`])],
      (value) => { state.of = value; made.redraw(); })].filter(Boolean));
  return made.node;
}

/** Another judge of the same pairs: pairwise against individual judging. */
function comparedWith() {
  const rows = byCriterion(rowsOf("judge_compared"));
  if (!rows.length) return [soft(FACTS.missing.judge_compared)];
  return [element("h3", { style: { "margin-top": "2.2rem" } }, "Compared with another way of judging"), tableOfKnown([
    ["Criterion", (row) => named(row.criterion), "name"], ["Judgments", (row) => `${row.judgments} (${row.mode})`, "name"],
    ["Compared with", (row) => `${row.compared_with} (${row.compared_mode})`, "name"],
    ...[
      ["num_pairs", "Common pairs", whole], ["agree", "Prefer the same text", percent], ["correlation", "Correlation (r)", decimal],
      ["kendall_tau", "Agrees with people (τ)", decimal], ["compared_kendall_tau", "The other agrees with people (τ)", decimal],
    ].map(([key, heading, show]) => [heading, (row) => show(row[key]), undefined, (row) => known(row[key])]),
  ], rows)];
}

function raterPart() {
  const rows = rowsOf("rater_accuracy"), bins = rowsOf("rater_calibration");
  const of = (row, group) => {
    const found = rows.find((each) => each.rater === row.rater && each.criterion === row.criterion && each.group === group);
    return known(found?.accuracy) ? `${percent(found.accuracy)} of ${whole(found.num_pairs)}` : "–";
  };
  const error = (row) => {
    const own = bins.filter((each) => each.rater === row.rater && each.criterion === row.criterion);
    const pairs = sum(own.map((each) => each.num_pairs));
    return pairs ? sum(own.map((each) => each.num_pairs * Math.abs(each.predicted - each.judged))) / pairs : null;
  };
  const all = ofAll(rows);
  return [
    table([
      ["Criterion", (row) => named(row.criterion), "name"], ...sourceColumn(all, "rater", "Rater"),
      ["Held-out pairs", (row) => whole(row.num_pairs)], ["Accuracy", (row) => measured(row.accuracy, row)],
      ["Calibration error", (row) => decimal(error(row))],
      ["Accuracy where the judge prefers the longer text", (row) => of(row, "longer")], ["Where it prefers the shorter", (row) => of(row, "shorter")],
      ["Where its orders disagree", (row) => of(row, "disagree")],
    ], all),
    soft("Accuracy: how often the rater prefers the judge's text, on pairs that it did not learn from and that the judge is sure of; 50 % is chance. The last three columns count the other held-out pairs, too. Calibration error: how far its probabilities are from the judge's on average."),
    accuracyFigure(rows), calibrationFigure(bins),
  ];
}

const sum = (values) => values.reduce((total, each) => total + each, 0);

const GROUPINGS = { confidence: "confidence of the judge", domain: "domain of both texts", length: "which text is longer", orders: "the judge's two orders" };
const GROUPS = {
  longer: "judge prefers the longer text", shorter: "judge prefers the shorter text", agree: "the two orders agree", disagree: "the two orders disagree",
};

/** What a criterion is called; none stands for all together. */
const criterionName = (name) => (known(name) ? named(name) : "all criteria");

/** Several raters, or annotations, to choose from; none where there is one. */
function artifactChoice(label, rows, key, changed) {
  const names = unique(rows.map((row) => row[key]));
  return names.length > 1 && choice(label, names.map((name) => [name, name]), changed);
}

function accuracyFigure(rows) {
  const parts = rows.filter((row) => row.grouping !== "all" && row.num_pairs);
  if (!parts.length) return null;
  const groupings = Object.keys(GROUPINGS).filter((name) => parts.some((row) => row.grouping === name));
  const state = { rater: parts[0].rater, grouping: groupings[0], criterion: null };
  const criteria = element("span");
  const own = () => parts.filter((row) => row.rater === state.rater && row.grouping === state.grouping);
  const told = (row) => ({ ...row, told: row.grouping === "domain" ? row.group : GROUPS[row.group] ?? row.group.replace("-", " to ") });
  const made = figure("Accuracy by kind of pair", "Points: accuracy on held-out pairs; lines: 95 % intervals; dotted: 50 %, as by guessing. Confidence: |2p − 1| of the judge. Domains: pairs of two texts of one domain that the judge is sure of, by all criteria; at most the 30 with most pairs are shown.",
    () => intervals(labelled(own().filter((row) => row.criterion === state.criterion).map(told), "told", String).map((row) => ({ ...row, value: row.accuracy })),
      "Accuracy on held-out pairs", 0.5),
    [artifactChoice("Rater", parts, "rater", (value) => { state.rater = value; change(); }),
      choice("By", groupings.map((name) => [name, GROUPINGS[name]]), (value) => { state.grouping = value; change(); }), criteria].filter(Boolean));
  const offer = () => {
    const names = unique(byCriterion(own()).map((row) => row.criterion)).sort((a, b) => known(a) - known(b));
    if (!names.includes(state.criterion)) state.criterion = names[0] ?? null;
    criteria.replaceChildren(choice("Criterion", names.map((name, place) => [String(place), criterionName(name)]),
      (value) => { state.criterion = names[value]; made.redraw(); }, String(names.indexOf(state.criterion))));
  };
  const change = () => { offer(); made.redraw(); };
  offer();
  return made.node;
}

function calibrationFigure(bins) {
  if (!bins.length) return null;
  const criteria = unique(byCriterion(bins).map((row) => row.criterion));
  const state = { rater: bins[0].rater, criterion: criteria[0] };
  const made = figure("Calibration", "Of the text that the rater prefers: its probability, and the judge's on average. The larger a point, the more held-out pairs. Above the line the judge is surer than the rater, below it the rater is surer.",
    () => calibrated(bins.filter((row) => row.rater === state.rater && row.criterion === state.criterion)),
    [artifactChoice("Rater", bins, "rater", (value) => { state.rater = value; made.redraw(); }),
      choice("Criterion", criteria.map((name) => [name, named(name)]), (value) => { state.criterion = value; made.redraw(); })].filter(Boolean));
  return made.node;
}

function scorerPart() {
  const rows = rowsOf("scorer"), points = rowsOf("annotated");
  const fraction = rows.find((row) => known(row.top_fraction))?.top_fraction;
  return [
    rows.length > 0 && table([
      ["Sequences", (row) => (row.grouping === "all" ? "all held out" : row.group), "name"], ...sourceColumn(rows, "scorer", "Scorer"),
      ["Number", (row) => whole(row.num_sequences)], ["Rank correlation (ρ)", (row) => measured(row.spearman, row, decimal)],
      ["Squared error (100 %: that of the mean)", (row) => (row.mse_of_the_mean > 0 ? percent(row.mse / row.mse_of_the_mean) : "–")],
      [`Finds the top ${percent(fraction)} (F1)`, (row) => decimal(row.top_f1)], ["By chance", (row) => decimal(row.top_f1_by_chance)],
    ], rows),
    rows.length > 0 && soft("ρ: Spearman's rank correlation of annotated and predicted scores of sequences that the scorer did not learn from; 0 is chance. Domains with fewer than 20 of them have no row."),
    points.length > 0 ? annotatedFigure(points) : soft(FACTS.missing.annotated),
  ];
}

function annotatedFigure(points) {
  const kinds = [
    ["held out", (row) => row.held_out === true], ["learned from", (row) => row.held_out === false], ["not known whether held out", (row) => !known(row.held_out)],
  ].filter(([, is]) => points.some(is));
  const state = { annotation: points[0].annotation, criterion: points[0].criterion, kind: 0 };
  const criteria = unique(points.map((row) => row.criterion));
  const made = figure("Annotated and predicted scores", "In standard deviations of the annotated scores. On the line both are equal; a scorer that orders well has a rising cloud, though it may be flatter. An even sample of at most 1,000 sequences.",
    () => cloud(points.filter((row) => row.annotation === state.annotation && row.criterion === state.criterion && kinds[state.kind][1](row))),
    [artifactChoice("Annotation", points, "annotation", (value) => { state.annotation = value; made.redraw(); }),
      criteria.length > 1 && choice("Scores", criteria.map((name) => [name, named(name)]), (value) => { state.criterion = value; made.redraw(); }),
      choice("Sequences", kinds.map(([name], place) => [String(place), name]), (value) => { state.kind = value; made.redraw(); })].filter(Boolean));
  return made.node;
}

// --- their figures

const CHANCE = { mark: { type: "rule", color: INK, strokeDash: [2, 3] } };

/** A point and its interval per row: label, value, low, high, num_pairs. */
function intervals(rows, title, chance) {
  const values = rows.filter((row) => known(row.value)).map((row) => ({
    ...row, shown: `${percent(row.value)}${known(row.low) ? ` (${percent(row.low)} to ${percent(row.high)})` : ""}`, pairs: whole(row.num_pairs),
  }));
  if (!values.length) return null;
  const lowest = Math.min(chance, ...values.map((row) => row.low ?? row.value));
  const x = (field) => ({ field, type: "quantitative", title, axis: { format: "%", tickCount: 6 }, scale: { domain: [lowest, 1] } });
  const tooltip = [{ field: "label", title: "Of" }, { field: "shown", title: "Share" }, { field: "pairs", title: "Pairs" }];
  return fitted({
    height: bars(values),
    layer: [
      { data: { values: [{ chance }] }, ...CHANCE, encoding: { x: x("chance") } },
      { data: { values: values.filter((row) => known(row.low)) }, mark: { type: "rule", color: ACCENT, strokeWidth: 2 }, encoding: { y: yLabel(), x: x("low"), x2: { field: "high" } } },
      { data: { values }, mark: { type: "circle", color: ACCENT, size: 75, opacity: 1 }, encoding: { y: yLabel(), x: x("value"), tooltip } },
    ],
  });
}

/** A figure with the diagonal on which both axes are equal. */
function withDiagonal(ends, titles, format, layers) {
  const width = Math.min(columnWidth() - 4, 560);
  const scale = { domain: ends.x, nice: false }, upright = { domain: ends.y, nice: false };
  const low = Math.max(ends.x[0], ends.y[0]), high = Math.min(ends.x[1], ends.y[1]);
  const axis = { format, tickCount: 6, grid: true };
  return {
    width, height: Math.min(400, 0.75 * width), autosize: { type: "fit-x", contains: "padding" },
    layer: [
      {
        data: { values: high > low ? [{ x: low, y: low }, { x: high, y: high }] : [] }, mark: { type: "line", color: GREY, strokeWidth: 1.2 },
        encoding: { x: { field: "x", type: "quantitative", title: titles[0], scale, axis }, y: { field: "y", type: "quantitative", title: titles[1], scale: upright, axis } },
      },
      ...layers,
    ],
  };
}

/** Reliability: the rater's probability of the text that it prefers, and the judge's, in bins. */
function calibrated(rows) {
  if (!rows.length) return null;
  const values = rows.map((row) => ({ x: row.predicted, y: row.judged, pairs: row.num_pairs, told: `rater ${percent(row.predicted)}, judge ${percent(row.judged)}`, number: whole(row.num_pairs) }));
  const x = { field: "x", type: "quantitative" };
  return withDiagonal({ x: [0.5, 1], y: [Math.min(0.5, ...values.map((row) => row.y)), 1] }, ["The rater's probability of the text that it prefers", "The judge's, on average"], "%", [
    { data: { values }, mark: { type: "rule", color: "var(--accent-2)", strokeWidth: 1.5 }, encoding: { x, y: { field: "x", type: "quantitative" }, y2: { field: "y" } } },
    {
      data: { values }, mark: { type: "circle", color: ACCENT, opacity: 1 },
      encoding: {
        x, y: { field: "y", type: "quantitative" },
        size: { field: "pairs", type: "quantitative", scale: { range: [25, 320], zero: true }, legend: null },
        tooltip: [{ field: "told", title: "Probability" }, { field: "number", title: "Pairs" }],
      },
    },
  ]);
}

const MAX_COLOURS = 5; // domains with a colour
const HUES = [ACCENT, "var(--warm)", "var(--c3)", "var(--c4)", "var(--c6)"];

/** Annotated and predicted scores, coloured by domain. */
function cloud(rows) {
  if (!rows.length) return null;
  const counts = new Map();
  for (const row of rows) counts.set(row.domain, (counts.get(row.domain) ?? 0) + 1);
  const coloured = [...counts].sort((a, b) => b[1] - a[1]).slice(0, MAX_COLOURS).map(([name]) => name);
  const kinds = unique(labelled(coloured.map((domain) => ({ domain })), "domain", String).map((row) => row.label));
  const others = coloured.length < counts.size ? ["other domains"] : [];
  const values = rows.map((row) => ({
    x: row.annotated, y: row.predicted, kind: kinds[coloured.indexOf(row.domain)] ?? others[0], domain: nameInFigure(row.domain, 60),
    told: `annotated ${decimal(row.annotated)}, predicted ${decimal(row.predicted)}`,
  }));
  const ends = (name) => { const of = values.map((row) => row[name]); return padded(Math.min(...of), Math.max(...of)); };
  return withDiagonal({ x: ends("x"), y: ends("y") }, ["Annotated", "Predicted"], undefined, [{
    data: { values }, mark: { type: "circle", size: 40, opacity: 0.75 },
    encoding: {
      x: { field: "x", type: "quantitative" }, y: { field: "y", type: "quantitative" },
      color: {
        field: "kind", type: "nominal", sort: null, scale: { domain: [...kinds, ...others], range: [...HUES.slice(0, kinds.length), GREY].slice(0, kinds.length + others.length) },
        legend: { ...legend(), columns: columnWidth() < 560 ? 2 : 3, labelLimit: 150 },
      },
      tooltip: [{ field: "domain", title: "Domain" }, { field: "told", title: "Score" }],
    },
  }]);
}

/** The ends of an axis with some room. */
const padded = (low, high) => [low - 0.04 * (high - low || 1), high + 0.04 * (high - low || 1)];
