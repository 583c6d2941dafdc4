// The figures, as Vega-Lite specifications. Colours are the page's CSS variables, so that light, dark and print need no
// second drawing; expressions are interpreted (`ast`), so that the page needs no eval.
"use strict";

const FONT = '"Inter", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif';

const CONFIG = {
  background: null,
  font: FONT,
  view: { stroke: null },
  axis: {
    domain: false, ticks: false, gridColor: "var(--line)", labelColor: "var(--ink)", titleColor: "var(--soft)",
    labelFontSize: 12, titleFontSize: 12, titleFontWeight: 400, labelPadding: 12, titlePadding: 10,
  },
  axisY: { grid: false, title: null },
  legend: { labelColor: "var(--ink)", titleColor: "var(--soft)", labelFontSize: 12, orient: "top", title: null, symbolType: "circle" },
  header: { labelColor: "var(--ink)", labelFontSize: 12, labelFontWeight: 600, title: null },
  text: { color: "var(--ink)", fontSize: 11 },
};

const ACCENT = "var(--accent)", GREY = "var(--grey)", INK = "var(--ink)";

const figures = []; // every figure of the page: {place, draw}

/** The legend of a colour: below each other on a phone. */
const legend = () => ({ columns: columnWidth() < 560 ? 1 : 0 });

/** Width for a figure: that of the page's column, also while the figure's tab is hidden. */
const columnWidth = () => Math.min(byId("main").clientWidth, 976);

const labelWidth = () => (columnWidth() < 560 ? 130 : 240);

/** A tooltip of our own: text, never markup. */
function tip(_handler, event, _item, value) {
  const box = byId("tip");
  box.hidden = !value;
  if (!value) return;
  const lines = typeof value === "object" ? Object.entries(value) : [["", value]];
  box.replaceChildren(...lines.map(([name, each]) => element("div", {}, name && element("span", {}, `${name} `), String(each))));
  const { clientX, clientY } = event;
  box.style.left = `${Math.max(8, Math.min(clientX + 14, innerWidth - box.offsetWidth - 8))}px`;
  box.style.top = `${clientY + 16 + box.offsetHeight > innerHeight ? clientY - box.offsetHeight - 12 : clientY + 16}px`;
}

async function embed(place, specification, description) {
  const spec = { config: CONFIG, description, ...specification };
  const made = await vegaEmbed(place, spec, { mode: "vega-lite", actions: false, renderer: "svg", ast: true, tooltip: tip, defaultStyle: false });
  return made.view;
}

/**
 * A figure with a heading and a caption. `specification` is called when it is drawn, and again when the width or a
 * choice above it changes; it returns null where there is nothing to draw.
 */
function figure(heading, caption, specification, controls = [], isHeadingShown = true) {
  const place = element("div", { class: "drawing" });
  const item = { place, isDrawn: false };
  item.draw = async () => {
    const spec = specification();
    if (!spec) return place.replaceChildren(element("p", { class: "soft" }, "There is nothing to draw for this choice."));
    item.view?.finalize();
    item.view = await embed(place, spec, plain(heading));
  };
  figures.push(item);
  const bar = controls.length ? element("div", { class: "controls" }, controls) : null;
  const made = element("figure", {}, isHeadingShown && element("h3", {}, heading), bar, place, element("figcaption", {}, caption));
  return { node: made, redraw: () => item.draw() };
}

/** Draw the figures that are not drawn yet, or all again, with a pause between so that the page answers meanwhile. */
async function drawAll(isAgain = false) {
  const isOpen = (item) => !item.place.closest("[role=tabpanel]")?.hidden;
  for (const item of [...figures].sort((a, b) => isOpen(b) - isOpen(a))) {
    if (item.isDrawn && !isAgain) continue;
    item.isDrawn = true;
    try {
      await item.draw();
    } catch (error) {
      console.error(error);
      item.place.replaceChildren(element("p", { class: "soft" }, `This figure could not be drawn: ${error.message}`));
    }
    await new Promise((resume) => setTimeout(resume));
  }
}

/** A name in a figure. Vega counts names in plain objects, which have a `constructor`: such names get a space. */
function nameInFigure(text, width) {
  const label = plain(shortened(text, width)).replace(/\s+/g, " ");
  return label in {} ? `${label}\u00a0` : label;
}

/** Rows with a label that a figure may show; names that look the same when they are shortened are numbered. */
function labelled(rows, name, told = named) {
  const labels = new Map(), times = new Map();
  for (const value of unique(rows.map((row) => row[name]))) {
    const label = nameInFigure(told(value), 60);
    times.set(label, (times.get(label) ?? 0) + 1);
    labels.set(value, times.get(label) > 1 ? `${label} (${times.get(label)})` : label);
  }
  return rows.map((row) => ({ ...row, label: labels.get(row[name]) }));
}

// In the order of the rows. A list of names as `sort` would become an expression, which hostile names break.
const yLabel = () => ({
  field: "label", type: "nominal", sort: null, axis: { labelLimit: labelWidth(), labelExpr: "split(datum.value, '\\n')", labelLineHeight: 14 },
});

const bars = (rows) => rows.length * Math.max(22, Math.min(30, 660 / Math.max(rows.length, 1)));

const fitted = (spec) => ({ width: columnWidth() - 4, autosize: { type: "fit-x", contains: "padding" }, ...spec });

/** Ratings by group: a line from the 5th to the 95th percentile, a bar over the middle half, a tick at the median. */
function spread(rows) {
  if (!rows.length) return null;
  const values = labelled(rows, "group", String).map((row) => ({
    ...row,
    facts: `${whole(row.num)} sequences, ${short(row.tokens)} tokens`,
    spread: `median ${rated(row.p50, row.criterion)}, mean ${rated(row.mean, row.criterion)}, standard deviation ${rated(row.sd, row.criterion)}`,
    values: whole(row.distinct),
  })).sort((a, b) => b.p50 - a.p50);
  const tooltip = [["label", "Group"], ["spread", "Ratings"], ["values", "Distinct values"], ["facts", "Size"]]
    .map(([field, title]) => ({ field, title }));
  const y = yLabel();
  const x = (field) => ({ field, type: "quantitative", title: "Rating", scale: { zero: false, nice: true }, axis: { tickCount: 6 } });
  return fitted({
    height: bars(values),
    data: { values },
    encoding: { y, tooltip },
    layer: [
      { mark: { type: "rule", color: GREY, strokeWidth: 1.5 }, encoding: { x: x("p5"), x2: { field: "p95" } } },
      { mark: { type: "bar", color: ACCENT, height: 9, opacity: 0.55, cornerRadius: 2 }, encoding: { x: x("p25"), x2: { field: "p75" } } },
      { mark: { type: "tick", color: INK, thickness: 2, size: 15 }, encoding: { x: x("p50") } },
    ],
  });
}

/** Shares of variance that the domain, the length and labels explain: one bar each, by criterion. */
function explained(rows) {
  const values = labelled(rows.filter((row) => known(row.eta_squared)), "criterion")
    .map((row) => ({ ...row, by: nameInFigure(named(row.explained_by), 40), shown: percent(row.eta_squared), chance: percent(row.by_chance, 1) }));
  if (!values.length) return null;
  const kinds = unique(values.map((row) => row.by)).sort((a, b) => (b === "domain") - (a === "domain"));
  const criteria = unique(values.map((row) => row.label));
  values.sort((a, b) => criteria.indexOf(a.label) - criteria.indexOf(b.label) || kinds.indexOf(a.by) - kinds.indexOf(b.by));
  const shades = kinds.map((_, place) => [ACCENT, GREY, "var(--accent-2)", "var(--grey-2)"][place % 4]);
  return fitted({
    height: values.length * (kinds.length > 2 ? 13 : 16) * 1.3,
    data: { values },
    mark: { type: "bar", cornerRadiusEnd: 2, height: { band: 0.8 } },
    encoding: {
      y: { ...yLabel(), scale: { paddingInner: 0.35 } },
      yOffset: { field: "by", sort: null },
      x: {
        field: "eta_squared", type: "quantitative", title: "Share of the variance of ratings (η²)", scale: { domain: [0, 1] },
        axis: { format: "%", tickCount: 5 },
      },
      color: { field: "by", type: "nominal", sort: null, scale: { domain: kinds, range: shades }, legend: legend() },
      tooltip: [{ field: "label", title: "Criterion" }, { field: "by", title: "Explained by" }, { field: "shown", title: "Share" }, { field: "chance", title: "By chance" }],
    },
  });
}

/** Two points per row on a line: what there is, and what it is compared with. */
function pairs(rows, { names, title, tooltip, domain, format = "%", step = 1 }) {
  const values = rows.filter((row) => known(row.from) || known(row.to));
  if (!values.length) return null;
  const points = values.flatMap((row) => [{ ...row, x: row.from, which: names[0] }, { ...row, x: row.to, which: names[1] }]).filter((row) => known(row.x));
  const y = yLabel();
  return fitted({
    height: step * bars(values),
    encoding: { y },
    layer: [
      {
        data: { values: values.filter((row) => known(row.from) && known(row.to)) },
        mark: { type: "rule", color: GREY, strokeWidth: 1.5 },
        encoding: { x: { field: "from", type: "quantitative", title, axis: { format, tickCount: 6 }, scale: domain ? { domain } : { zero: true } }, x2: { field: "to" } },
      },
      {
        data: { values: points },
        mark: { type: "circle", size: 75, opacity: 1 },
        encoding: {
          x: { field: "x", type: "quantitative" },
          color: { field: "which", type: "nominal", sort: null, scale: { domain: names, range: [GREY, ACCENT] }, legend: legend() },
          tooltip,
        },
      },
    ],
  });
}

/** What a selection takes of each group: its share of the corpus and of the subset. */
function retained(rows) {
  const values = labelled(rows, "group", String).sort((a, b) => b.share_of_corpus - a.share_of_corpus).map((row) => ({
    ...row, from: row.share_of_corpus, to: row.share_of_subset,
    taken: `${percent(row.share_of_corpus, 1)} of the corpus, ${percent(row.share_of_subset, 1)} of the subset`,
    kept: `${percent(row.share_kept, 1)} of ${short(row.tokens)} tokens`,
  }));
  return pairs(values, {
    names: ["Share of the corpus", "Share of the subset"], title: "Share of tokens",
    tooltip: [{ field: "label", title: "Group" }, { field: "taken", title: "Share" }, { field: "kept", title: "Kept" }],
  });
}

/** What a selection keeps of each group, beside what it keeps of the groups together; the most kept first. */
function kept(rows) {
  const sum = (name) => rows.reduce((total, row) => total + (row[name] ?? 0), 0);
  const all = sum("kept_tokens") / sum("tokens");
  const values = labelled(rows, "group", String).filter((row) => known(row.share_kept)).sort((a, b) => b.share_kept - a.share_kept).map((row) => ({
    ...row, from: all, to: row.share_kept,
    told: `${percent(row.share_kept, 1)} of ${short(row.tokens)} tokens; of all ${percent(all, 1)}`,
  }));
  return pairs(values, {
    names: ["Kept of all groups", "Kept of the group"], title: "Share of the tokens that are kept",
    tooltip: [{ field: "label", title: "Group" }, { field: "told", title: "Kept" }],
  });
}

/** AUC of the judge's preferences within one domain and across domains. */
function preferences(rows) {
  const values = labelled(unique(rows.map((row) => row.criterion)).map((criterion) => {
    const of = (where) => rows.find((row) => row.criterion === criterion && row.where === where) ?? {};
    const told = (row) => (known(row.auc) ? `${decimal(row.auc)} [${decimal(row.low)}, ${decimal(row.high)}] of ${several(row.num_pairs, "pair")}` : "–");
    return { criterion, from: of("across").auc, to: of("within").auc, within: told(of("within")), across: told(of("across")) };
  }), "criterion");
  return pairs(values, {
    names: ["Across domains", "Within a domain"], title: "AUC (0.5 is chance)", format: ".2f",
    domain: [Math.min(0.5, ...values.flatMap((row) => [row.from, row.to]).filter(known)), 1],
    tooltip: [{ field: "label", title: "Criterion" }, { field: "within", title: "Within" }, { field: "across", title: "Across" }],
  });
}

/** Tokens that two subsets share, beside what two random subsets of their sizes would share; `one` is named above. */
function overlapping(rows, one = null) {
  const values = rows.map((row) => ({
    ...row, label: [row.first, row.second].filter((name) => name !== one).map((name) => nameInFigure(subsetName(name), one ? 60 : 40)).join("\n"), from: row.by_chance, to: row.share,
    told: `${percent(row.share, 1)} (${short(row.shared_tokens)} tokens), by chance ${percent(row.by_chance, 1)}`,
  })).sort((a, b) => b.to - a.to);
  return pairs(values, {
    names: ["By chance", "Shared"], title: "Shared tokens, of those that either has", domain: [0, 1], step: one ? 1 : 1.4,
    tooltip: [{ field: "label", title: "Subsets" }, { field: "told", title: "Shared" }],
  });
}

/** Correlations as a matrix: the stronger, the more colour; positive in the accent, negative in grey. */
function correlated(rows, kind) {
  const names = unique(rows.flatMap((row) => [row.first, row.second]));
  const of = new Map(rows.flatMap((row) => [[`${row.first}\n${row.second}`, row[kind]], [`${row.second}\n${row.first}`, row[kind]]]));
  const labels = names.map((name) => nameInFigure(named(name), 40));
  const values = names.flatMap((first, i) => names.flatMap((second, j) => {
    const r = i === j ? 1 : of.get(`${first}\n${second}`);
    return j < i && known(r) ? [{ first: labels[i], second: labels[j], r, strength: Math.abs(r), text: decimal(r), sign: r < 0 ? "negative" : "positive" }] : [];
  }));
  if (!values.length) return null;
  const size = Math.min(64, (columnWidth() - labelWidth()) / names.length);
  return {
    width: { step: size },
    height: { step: Math.min(34, size) },
    autosize: { type: "pad", contains: "padding" },
    data: { values },
    encoding: {
      y: { field: "first", type: "nominal", sort: null, axis: { labelLimit: labelWidth() } },
      x: { field: "second", type: "nominal", sort: null, title: null, axis: { labelAngle: -35, labelLimit: 130, grid: false } },
      tooltip: [{ field: "first", title: "Column" }, { field: "second", title: "and" }, { field: "text", title: kind }],
    },
    layer: [
      {
        mark: { type: "rect", cornerRadius: 3, stroke: "var(--page)", strokeWidth: 3 },
        encoding: {
          color: { field: "sign", type: "nominal", scale: { domain: ["positive", "negative"], range: [ACCENT, "var(--warm)"] }, legend: null },
          opacity: { field: "strength", type: "quantitative", scale: { domain: [0, 1], range: [0.05, 0.75] }, legend: null },
        },
      },
      ...(size >= 30 ? [{ mark: { type: "text" }, encoding: { text: { field: "text" } } }] : []),
    ],
  };
}

/** The mixture at one temperature: bars, with a tick at the corpus' own share. `rows` have label, share, uniform. */
function mixture(rows, largest) {
  const x = (field) => ({ field, type: "quantitative", title: "Share of the selected tokens", axis: { format: "%", tickCount: 6 }, scale: { domain: [0, largest] } });
  return fitted({
    height: bars(rows),
    data: { name: "mixture", values: rows },
    encoding: { y: yLabel(), tooltip: [{ field: "label", title: "Domain" }, { field: "told", title: "Share" }] },
    layer: [
      { mark: { type: "bar", color: ACCENT, height: 11, opacity: 0.7, cornerRadiusEnd: 2 }, encoding: { x: x("share") } },
      { mark: { type: "tick", color: INK, thickness: 2, size: 17 }, encoding: { x: x("uniform") } },
    ],
  });
}
