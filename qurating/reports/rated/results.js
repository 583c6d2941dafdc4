// The part on what training on each selection gave: the answer, the table of methods, the losses by tokens.
"use strict";

const MAX_COLOURED = 6; // methods besides uniform that have a colour of their own
const ANSWER = FACTS.answer ?? { sentences: [], notes: [], methods: [] };

/** Rows of the table of results that have a result. */
const evaluated = () => rowsOf("results").filter((row) => row.state === "complete");

/** What a method is called here: those of several budgets have one name in the table. */
const methodNames = new Map(rowsOf("results").map((row, _, rows) => {
  const isAlone = rows.filter((other) => other.method === row.method).length === 1;
  const budget = isAlone ? row.method : `${row.method}, ${short(row.tokens)}`;
  const isTold = rows.filter((other) => other.method === row.method && short(other.tokens) === short(row.tokens)).length > 1;
  return [row.number, named(isTold ? `${budget} (${row.number + 1})` : budget)];
}));

const signed = (value, digits = 2) => (known(value) && value > 0 ? `+${decimal(value, digits)}` : decimal(value, digits));

const between = (low, high, told) => (known(low) && known(high) ? ` [${told(low)}, ${told(high)}]` : "");

function results() {
  return [
    part("Did it help?", ["results"], () => [
      ANSWER.helped && element("p", { class: "helped" }, ANSWER.helped),
      ...methodsTable(),
      element("ul", { class: "answer" }, ANSWER.sentences.map((sentence) => element("li", {}, sentence))),
      ANSWER.notes.length ? folded(several(ANSWER.notes.length, "note"), () => element("ul", {}, ANSWER.notes.map((note) => element("li", {}, note)))) : null,
    ]),
    part("Losses along the trainings", ["curves"], () => lossesFigure().node),
  ];
}

/** The methods over their seeds; each seed leads to the manifest of its evaluation. */
function methodsTable() {
  const rows = rowsOf("results"), about = rows.find((row) => row.part)?.part;
  const of = (row) => ANSWER.methods[row.number] ?? { evaluations: [], elsewhere: {} };
  const elsewhere = unique(ANSWER.methods.flatMap((method) => Object.keys(method.elsewhere))).slice(0, 5);
  const bound = (row) => ({ "at least": "≥ ", "at most": "≤ " })[row.token_factor_bound] ?? "";
  const soft = (text) => element("span", { class: "soft" }, text);
  const isChecked = rows.some((row) => row.num_checked);
  const columns = [
    ["Selection", (row) => [methodNames.get(row.number), row.state !== "complete" && soft(` ${row.state}`)], "name"],
    ["Seeds", (row) => separated(of(row).evaluations.map(([seed, name]) =>
      element("a", { href: `#manifest=${encodeURIComponent(plain(name))}`, title: name }, seed || "–")))],
    ["Tokens", (row) => short(row.tokens)],
    [about ? `Loss on ${named(about)}` : "Loss", (row) => [decimal(row.loss, 3), known(row.loss_low) && soft(` ± ${decimal((row.loss_high - row.loss_low) / 2, 3)}`)]],
    ["− uniform", (row) => (row.is_uniform ? "–" : [signed(row.difference, 3), soft(between(row.difference_low, row.difference_high, (value) => signed(value, 2)))])],
    ["p (Holm)", (row) => (known(row.p_holm) ? decimal(row.p_holm, 3) : "–")],
    ["Token factor", (row) => (row.is_uniform ? "1" : known(row.token_factor) ? [bound(row), decimal(row.token_factor), soft(between(row.token_factor_low, row.token_factor_high, decimal))] : "–")],
    ...(isChecked ? [["Near duplicates", (row) => percent(row.near_duplicate_share, 1)], ["Contaminated", (row) => percent(row.contaminated_share, 1)]] : []),
    ...elsewhere.map((name) => [`${named(name)}: −\u00a0uniform`, (row) => signed(of(row).elsewhere[name])]),
  ];
  const made = table(columns, rows);
  made.classList.add("dense"); // many columns
  return [made, element("p", { class: "soft" },
    "A seed leads to the manifest of its evaluation. ",
    isChecked ? "Near duplicates and contaminated: shares of the tokens of the subset, where it was checked."
      : "To see near-duplicates and contamination beside each result, run the stage check_subset for each selection, then analyse_ratings.")];
}

const MAX_METHODS = 40; // in a figure; the table has all

/** The difference of the loss from uniform by method, with its interval; nothing where no method can be compared. */
function differencesFigure(heading) {
  const rows = evaluated().filter((row) => known(row.difference)).sort((a, b) => a.difference - b.difference);
  const about = rows.find((row) => row.part)?.part;
  return rows.length ? figure(heading,
    `Difference of the held-out loss${about ? ` on ${named(about)}` : ""} from uniform with the same seeds, in nats per token; lines: 95 % intervals over seeds. Left of 0 is better. Grey: p is 0.05 or more after Holm's correction for all rows of the table.${rows.length > MAX_METHODS ? ` The ${MAX_METHODS} best of ${whole(rows.length)} are shown.` : ""}`,
    () => differences(rows.slice(0, MAX_METHODS))) : null;
}

function differences(rows) {
  const width = columnWidth() < 560 ? 20 : 60; // of names on a phone: their ends tell them apart
  const values = labelled(rows, "number", (number) => shortened(methodNames.get(number), width)).map((row) => ({
    label: row.label, name: nameInFigure(methodNames.get(row.number), 60), difference: row.difference,
    low: row.difference_low ?? row.difference, high: row.difference_high ?? row.difference,
    told: signed(row.difference, 3) + between(row.difference_low, row.difference_high, (value) => signed(value, 3)),
    kind: !known(row.p_holm) || row.p_holm >= 0.05 ? "may be chance" : row.difference < 0 ? "better" : "worse",
    factor: known(row.token_factor) ? decimal(row.token_factor) : "–", seeds: whole(row.num_seeds),
  }));
  const x = (name) => ({ field: name, type: "quantitative", title: "Loss − loss of uniform, nats per token", scale: { zero: true, nice: true }, axis: { tickCount: 6 } });
  const colour = {
    field: "kind", type: "nominal", legend: legend(),
    scale: { domain: ["better", "worse", "may be chance"], range: [ACCENT, "var(--warm)", GREY] },
  };
  return fitted({
    height: bars(values),
    layer: [
      { data: { values: [{ zero: 0 }] }, mark: { type: "rule", color: INK, strokeWidth: 1 }, encoding: { x: { field: "zero", type: "quantitative" } } },
      { data: { values }, mark: { type: "rule", strokeWidth: 2.5 }, encoding: { y: yLabel(), x: x("low"), x2: { field: "high" }, color: colour } },
      {
        data: { values }, mark: { type: "circle", size: 90, opacity: 1 },
        encoding: {
          y: yLabel(), x: x("difference"), color: colour,
          tooltip: [["name", "Selection"], ["told", "− uniform"], ["factor", "Token factor"], ["seeds", "Seeds"]].map(([name, title]) => ({ field: name, title })),
        },
      },
    ],
  });
}

function lossesFigure() {
  const rows = rowsOf("curves"), kinds = unique(rows.map((row) => row.kind));
  const state = { kind: kinds.includes("heldout") ? "heldout" : kinds[0] };
  const caption = element("span");
  const describe = () => caption.replaceChildren(visible(
    `${state.kind === "heldout" ? "Loss on a sample of the held-out text" : "Loss on the batches of the training, smoothed"}, one line for each seed; tokens are on a logarithmic axis. ` +
    "Dashed: where uniform ends. A line that crosses it further left needs fewer tokens for the loss of uniform. A click on the legend shows one selection alone."));
  describe();
  const names = { heldout: "Held-out loss", training: "Training loss" };
  const made = figure("Losses by tokens", caption, () => losses(rows.filter((row) => row.kind === state.kind)),
    kinds.length > 1 ? [choice("Loss", kinds.map((kind) => [kind, names[kind] ?? kind]), (value) => { state.kind = value; describe(); made.redraw(); }, state.kind)] : [], false);
  return made;
}

/** A line for each training, coloured by method, and the last loss of uniform as horizontal rules. */
function losses(rows) {
  if (!rows.length) return null;
  const order = evaluated().map((row) => row.number), uniform = new Set(evaluated().filter((row) => row.is_uniform).map((row) => row.number));
  const coloured = order.filter((number) => !uniform.has(number)).slice(0, MAX_COLOURED);
  const label = (number) => (uniform.has(number) ? "uniform" : coloured.includes(number) ? nameInFigure(methodNames.get(number), 44) : "others");
  const values = rows.map((row) => ({
    label: label(row.number), cell: `${row.number} ${nameInFigure(row.replicate, 40)}`, tokens: row.tokens, nats: row.nats_per_token,
    name: nameInFigure(methodNames.get(row.number), 60), replicate: nameInFigure(row.replicate, 40), at: short(row.tokens), told: decimal(row.nats_per_token, 3),
  }));
  const ends = [...uniform].flatMap((number) => {
    const last = unique(rows.filter((row) => row.number === number).map((row) => row.replicate))
      .map((replicate) => rows.filter((row) => row.number === number && row.replicate === replicate).at(-1));
    return last.length ? [{ nats: last.reduce((sum, row) => sum + row.nats_per_token, 0) / last.length, end: `uniform, ${short(last[0].tokens)}`, }] : [];
  });
  // the first losses, and those of the selections in grey, may be far above those of interest
  const late = rows.filter((row) => label(row.number) !== "others" && row.tokens >= 0.1 * Math.max(...rows.filter((other) => other.number === row.number).map((other) => other.tokens)));
  const [low, high] = [Math.min(...late.map((row) => row.nats_per_token)), Math.max(...late.map((row) => row.nats_per_token))];
  const present = unique(["uniform", ...coloured.map(label), "others"]).filter((name) => values.some((row) => row.label === name));
  const start = Math.min(...rows.filter((row) => row.nats_per_token <= high + 0.1 * (high - low)).map((row) => row.tokens));
  const shade = (name, place) => (name === "uniform" ? "var(--soft)" : name === "others" ? "var(--grey-2)" : `var(--c${place})`);
  const x = { field: "tokens", type: "quantitative", scale: { type: "log", nice: false, domain: [start, Math.max(...rows.map((row) => row.tokens))] }, title: "Tokens trained on", axis: { tickCount: 6, format: "~s", grid: false } };
  const y = { field: "nats", type: "quantitative", title: "Nats per token", scale: { domain: [low - 0.04 * (high - low), high + 0.1 * (high - low)], nice: false }, axis: { grid: true, tickCount: 6 } };
  const color = { field: "label", type: "nominal", sort: null, scale: { domain: present, range: present.map(shade) }, legend: { ...legend(), symbolType: "stroke", labelLimit: 300, columns: columnWidth() < 560 ? 1 : present.length > 4 ? 3 : 0 } };
  const opacity = { condition: { param: "picked", value: 0.9 }, value: 0.07 };
  const tooltip = [["name", "Selection"], ["replicate", "Seed"], ["at", "Tokens"], ["told", "Loss"]].map(([name, title]) => ({ field: name, title }));
  return fitted({
    height: 380,
    layer: [
      { data: { values: ends }, mark: { type: "rule", color: GREY, strokeDash: [5, 4] }, encoding: { y } },
      { data: { values: ends }, mark: { type: "text", align: "left", dy: -6, color: "var(--soft)" }, encoding: { y, x: { value: 2 }, text: { field: "end" } } },
      {
        data: { values }, params: [{ name: "picked", select: { type: "point", fields: ["label"] }, bind: "legend" }],
        mark: { type: "line", clip: true, strokeWidth: 1.6 }, encoding: { x, y, color, opacity, detail: { field: "cell" } },
      },
      { data: { values }, mark: { type: "circle", clip: true, size: rows.length > 600 ? 14 : 34 }, encoding: { x, y, color, opacity, tooltip } },
    ],
  });
}
