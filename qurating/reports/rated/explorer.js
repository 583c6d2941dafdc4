// The explorer: filters, two selections side by side, search, and one text with its ratings window by window.
"use strict";

const EXPLORER = (() => {
  const DOCUMENTS = JSON.parse(byId("rows").textContent);
  const { criteria, subsets, columns } = FACTS.documents;
  const PAGE = 40; // rows of a list that are shown at once
  const placeById = new Map(DOCUMENTS.map((row, place) => [row.id, place]));
  const hasTexts = FACTS.documents.without_text < FACTS.documents.shown;
  let parsedTexts = null;
  /** Texts are parsed at first use: they are most of the file. */
  const texts = () => (parsedTexts ??= JSON.parse(byId("texts").textContent));
  const others = "\u0000others"; // the choice of all domains that have no choice of their own

  const state = { criterion: 0, from: 0, to: 100, domain: "", cluster: "", search: "", sort: "high", kept: "", notKept: "" };
  let lists = [DOCUMENTS.map((_, place) => place)]; // places of what is listed: one list, or two side by side
  let current = null; // the place of the open document
  let colouredBy = 0; // the criterion of the windows' colours
  let openedBy = null; // the element that the focus returns to

  const nameOf = (row) => row.document_id ?? row.id;
  const excerpt = (place, width) => {
    const text = texts()[place];
    return text === null ? "No text in the ratings' source." : [...text.slice(0, 2 * width).replace(/\s+/g, " ").trim()].slice(0, width).join("") + (text.length > width ? " …" : "");
  };

  // --- what is listed

  function matches(row, place, needle, domains) {
    const percentile = row.percentiles[state.criterion];
    if ((state.from > 0 || state.to < 100) && !(known(percentile) && percentile >= state.from && percentile <= state.to)) return false;
    if (state.domain && (state.domain === others ? domains.has(row.domain) : row.domain !== state.domain)) return false;
    if (state.cluster && row.cluster !== state.cluster) return false;
    if (!needle) return true;
    return [nameOf(row), row.id, row.domain, row.cluster, ...row.labels].some((name) => name?.toLowerCase().includes(needle))
      || Boolean(texts()[place]?.toLowerCase().includes(needle));
  }

  function chosen() {
    const needle = state.search.trim().toLowerCase();
    const domains = new Set(FACTS.groups.domain?.shown ?? []);
    const places = DOCUMENTS.flatMap((row, place) => (matches(row, place, needle, domains) ? [place] : []));
    const sign = state.sort === "high" ? -1 : 1;
    const key = (place) => sign * (DOCUMENTS[place].percentiles[state.criterion] ?? sign * Infinity); // without a rating: last
    if (state.sort !== "corpus") places.sort((a, b) => (key(a) === key(b) ? a - b : key(a) - key(b)));
    const isKept = (place, subset) => DOCUMENTS[place].kept.includes(Number(subset));
    if (state.kept === "" && state.notKept === "") return [places];
    if (state.kept === "" || state.notKept === "" || state.kept === state.notKept) {
      const subset = state.kept === "" ? state.notKept : state.kept;
      const wanted = state.kept !== "";
      return [places.filter((place) => isKept(place, subset) === wanted)];
    }
    return [
      places.filter((place) => isKept(place, state.kept) && !isKept(place, state.notKept)),
      places.filter((place) => isKept(place, state.notKept) && !isKept(place, state.kept)),
    ];
  }

  const headings = () => {
    const name = (subset) => subsetName(subsets[Number(subset)]);
    const both = state.kept !== "" && state.notKept !== "" && state.kept !== state.notKept;
    if (both) return [`Kept by ${name(state.kept)}, not by ${name(state.notKept)}`, `Kept by ${name(state.notKept)}, not by ${name(state.kept)}`];
    if (state.kept !== "") return [`Kept by ${name(state.kept)}`];
    return state.notKept !== "" ? [`Not kept by ${name(state.notKept)}`] : ["All documents of the sample"];
  };

  function item(place) {
    const row = DOCUMENTS[place];
    const percentile = row.percentiles[state.criterion];
    return element("li", {}, element("button", { type: "button", class: "item", data: { place }, click: (event) => open(place, event.currentTarget) },
      element("span", { class: "item-head" }, element("bdi", { class: "item-name" }, shortened(nameOf(row), 90)),
        element("span", { class: "meter", title: `percentile ${decimal(percentile, 1)}` },
          element("span", { style: { width: `${percentile ?? 0}%` } })), element("span", { class: "item-number" }, decimal(percentile, 0))),
      element("span", { class: "item-meta" }, element("bdi", {}, shortened(row.domain, 50)), known(row.cluster) ? [" · ", element("bdi", {}, shortened(row.cluster, 50))] : "", ` · ${whole(row.length)} tokens`),
      hasTexts && element("bdi", { class: "item-text", dir: "auto" }, excerpt(place, 170))));
  }

  function list(places, heading) {
    const shown = element("ol", { class: "list" });
    const more = element("button", { type: "button", class: "quiet more", click: () => extend(true) });
    let number = 0;
    const extend = (isFocused) => {
      const added = places.slice(number, number + PAGE).map(item);
      shown.append(...added);
      number += added.length;
      more.hidden = number >= places.length;
      more.textContent = `Show ${Math.min(PAGE, places.length - number)} more`;
      if (isFocused) added[0]?.firstElementChild.focus();
    };
    extend(false);
    return element("div", { class: "column" }, element("h3", { class: "list-heading" }, heading, element("span", { class: "soft" }, ` · ${whole(places.length)}`)),
      places.length ? shown : element("p", { class: "absent" }, "No document of this sample fits."), more);
  }

  function update() {
    lists = chosen();
    const found = headings();
    byId("lists").replaceChildren(...lists.map((places, number) => list(places, found[number])));
    byId("lists").classList.toggle("two", lists.length > 1);
    byId("count").textContent = lists.length > 1
      ? `${whole(lists[0].length)} and ${whole(lists[1].length)} documents`
      : several(lists[0].length, "document");
  }

  let waiting = null;
  const set = (changes, delay = 0) => {
    Object.assign(state, changes);
    clearTimeout(waiting);
    waiting = setTimeout(update, delay);
  };

  // --- the panel

  function number(label, name) {
    const input = element("input", {
      type: "number", min: 0, max: 100, step: 1, value: state[name], inputmode: "numeric", id: `percentile-${name}`,
      input: () => { const value = Number(input.value); if (input.value !== "" && Number.isFinite(value)) set({ [name]: Math.min(100, Math.max(0, value)) }, 150); },
    });
    return field(label, input);
  }

  function filters() {
    const counted = (name) => [...DOCUMENTS.reduce((found, row) => found.set(row[name], (found.get(row[name]) ?? 0) + 1), new Map())]
      .filter(([value]) => known(value)).sort((a, b) => b[1] - a[1]);
    const largest = new Set(FACTS.groups.domain?.shown ?? []);
    const domains = counted("domain");
    const listed = largest.size ? domains.filter(([name]) => largest.has(name)) : domains.slice(0, 30);
    const numOthers = domains.length - listed.length;
    const clusters = counted("cluster").slice(0, 100);
    const option = ([name, number]) => [name, `${shortened(named(name), 44)} (${whole(number)})`];
    const kept = subsets.map((name, place) => [String(place), subsetName(name)]);
    const fields = {
      search: element("input", { type: "search", id: "search", placeholder: "Words, a name, an id", autocomplete: "off", spellcheck: "false", input: (event) => set({ search: event.target.value }, 200) }),
      domain: choice("Domain", [["", "All"], ...listed.map(option), ...(numOthers ? [[others, `${whole(numOthers)} others`]] : [])], (value) => set({ domain: value })),
      cluster: clusters.length ? choice("Topic", [["", "All"], ...clusters.map(option)], (value) => set({ cluster: value })) : null,
    };
    const nodes = element("form", { class: "filters", submit: (event) => event.preventDefault(), role: "search" },
      field(["Search ", element("kbd", { "aria-hidden": "true" }, "/")], fields.search, "field grow"),
      criteria.length ? choice("Criterion", criteria.map((name, place) => [String(place), named(name)]), (value) => { colouredBy = Number(value); set({ criterion: Number(value) }); }) : null,
      criteria.length ? element("span", { class: "pair" }, number("Percentile from", "from"), number("to", "to")) : null,
      fields.domain, fields.cluster,
      choice("Order", [["high", "Highest first"], ["low", "Lowest first"], ["corpus", "As in the corpus"]], (value) => set({ sort: value })),
      kept.length ? element("span", { class: "pair compare" },
        choice("Compare: kept by", [["", "–"], ...kept], (value) => set({ kept: value })),
        choice("and not by", [["", "–"], ...kept], (value) => set({ notKept: value }))) : null);
    return { nodes, fields };
  }

  let made = null;

  function panel() {
    made = filters();
    const facts = FACTS.documents;
    const sampled = [
      facts.shown < facts.given ? `${whole(facts.shown)} of the ${whole(facts.given)} sampled sequences are in this page, which is kept below 10 MB. ` : `All ${whole(facts.shown)} sampled sequences are in this page. `,
      facts.cut ? `${whole(facts.cut)} texts are cut after ${whole(facts.max_characters)} characters. ` : "",
      hasTexts ? (facts.without_text ? `${whole(facts.without_text)} have no text. ` : "") : "The ratings came without text: filters and comparisons work, there is nothing to read. ",
      facts.besides ? `${whole(facts.besides)} of them are extremes and examples, the others an even sample. ` : "",
      ABOUT.sampling?.documents ? `Sampled from the corpus: ${ABOUT.sampling.documents}.` : "",
    ];
    const node = [
      element("section", { class: "part first" },
        hasTexts && element("details", { class: "note" }, element("summary", {}, "Before you judge by these ratings"), RESPONSIBLE.map((text) => element("p", {}, text))),
        made.nodes,
        element("p", { class: "soft" }, element("span", { id: "count", role: "status" }), " · percentiles are of the whole corpus · arrows move, Enter opens"),
        element("div", { id: "lists", class: "lists" }),
        element("p", { class: "source" }, sampled)),
    ];
    return node;
  }

  /** Set filters from elsewhere in the page; what is not named is reset. */
  function choose(changes) {
    ensure("documents");
    Object.assign(state, { from: 0, to: 100, domain: "", cluster: "", search: "", kept: "", notKept: "" }, changes);
    for (const [name, node] of Object.entries(made.fields)) {
      const input = node?.matches("input") ? node : node?.querySelector("select");
      if (input) input.value = state[name];
    }
    for (const select of made.nodes.querySelectorAll(".compare select")) select.value = "";
    byId("percentile-from") && (byId("percentile-from").value = 0);
    byId("percentile-to") && (byId("percentile-to").value = 100);
    update();
  }

  // --- one document

  const sorted = new Map(); // criterion: the ratings of all windows of the page, ascending
  function windowsOf(criterion) {
    if (!sorted.has(criterion)) {
      const all = DOCUMENTS.flatMap((row) => (row.windows[criterion].length ? row.windows[criterion] : [row.ratings[criterion]]));
      sorted.set(criterion, Float64Array.from(all.filter(known)).sort());
    }
    return sorted.get(criterion);
  }

  /** The 5th and the 95th percentile of the windows. */
  function range(criterion) {
    const all = windowsOf(criterion);
    return [all[Math.floor(0.05 * (all.length - 1))], all[Math.ceil(0.95 * (all.length - 1))]];
  }

  /** How much colour a rating has: the share of windows below it, half of those that equal it. */
  function strength(criterion, rating) {
    if (!known(rating)) return 0;
    const all = windowsOf(criterion);
    const place = (isBefore) => {
      let low = 0, high = all.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (isBefore(all[middle])) low = middle + 1; else high = middle;
      }
      return low;
    };
    return (place((value) => value < rating) + place((value) => value <= rating)) / 2 / all.length;
  }

  const tinted = (criterion, rating) => ({ "--strength": `${(4 + 34 * strength(criterion, rating)).toFixed(1)}%` });

  function text(place) {
    const row = DOCUMENTS[place], content = texts()[place];
    const ratings = row.windows[colouredBy] ?? [];
    const label = (rating) => `${named(criteria[colouredBy])}: ${rated(rating, criteria[colouredBy])}`;
    if (content === null) return [element("p", { class: "absent" }, "This sequence came without text."), strip(ratings)];
    if (!criteria.length) return element("div", { class: "text", dir: "auto" }, content);
    const windows = row.ends && ratings.length === row.ends.length && ratings.length ? row.ends.map((end, place) => [end, ratings[place]]) : [[content.length, row.ratings[colouredBy]]];
    let start = 0;
    const spans = windows.flatMap(([end, rating]) => {
      const part = content.slice(start, end);
      start = Math.max(start, end);
      if (!part) return [];
      return [element("span", { class: "window", style: tinted(colouredBy, rating), title: label(rating) }, element("span", { class: "rating" }, rated(rating, criteria[colouredBy])), part)];
    });
    const rest = content.slice(start);
    const isCut = row.characters > content.length;
    return [
      ratings.length > 1 && windows.length === 1 ? strip(ratings) : null,
      element("div", { class: "text", dir: "auto", tabindex: 0, "aria-label": "Text" }, spans, rest, isCut && element("span", { class: "cut" }, ` … cut: ${whole(row.characters)} characters in all`)),
    ];
  }

  /** Windows whose place in the text is not known. */
  const strip = (ratings) => ratings.length
    ? element("div", { class: "strip" }, element("span", { class: "soft" }, "Windows: "), ratings.map((rating) => element("span", { class: "window", style: tinted(colouredBy, rating) }, rated(rating, criteria[colouredBy]))))
    : null;

  function ratingRows(row) {
    return criteria.map((name, place) => element("button", {
      type: "button", class: "criterion", "aria-pressed": String(place === colouredBy), data: { criterion: place },
      click: () => { colouredBy = place; render(); document.querySelector(`#document [data-criterion="${place}"]`)?.focus(); },
    },
      element("span", { class: "criterion-name" }, named(name)),
      element("span", { class: "criterion-number" }, `${rated(row.ratings[place], name)} · ${decimal(row.percentiles[place], 0)}`),
      element("span", { class: "meter" }, element("span", { style: { width: `${row.percentiles[place] ?? 0}%` } }))));
  }

  const linkTo = (place) => `#doc=${encodeURIComponent(DOCUMENTS[place].id)}`;

  function render() {
    const row = DOCUMENTS[current];
    const dialog = byId("document");
    const facts = [
      ["Domain", row.domain], ["Topic", row.cluster], ...columns.map((name, place) => [named(name), row.labels[place]]),
      ["Tokens", whole(row.length)], ["Sequence", `${row.id}${known(row.position) ? `, part ${row.position + 1} of its document` : ""}`],
    ].filter(([, value]) => known(value));
    const isColoured = criteria.length > 0 && hasTexts;
    const [low, high] = isColoured ? range(colouredBy) : [];
    dialog.replaceChildren(
      element("header", { class: "bar" },
        element("h2", { id: "document-title", tabindex: -1 }, element("bdi", {}, shortened(nameOf(row), 160))),
        element("div", { class: "buttons" },
          element("button", { type: "button", class: "quiet", click: () => step(-1), title: "Previous (k)", "aria-label": "Previous" }, "←"),
          element("button", { type: "button", class: "quiet", click: () => step(1), title: "Next (j)", "aria-label": "Next" }, "→"),
          element("button", { type: "button", class: "quiet", id: "copy", click: copy, title: "Copy a link to this document (c)" }, "Copy link"),
          element("button", { type: "button", class: "quiet", id: "close", click: () => dialog.close(), title: "Close (Esc)", "aria-label": "Close" }, "✕"))),
      element("div", { class: "document" },
        element("aside", {},
          criteria.length ? element("div", { class: "criteria" }, element("p", { class: "soft" }, "Rating · percentile. Press one to colour the text by it."), ratingRows(row)) : null,
          subsets.length ? element("p", { class: "chips" }, subsets.map((name, place) => element("span", { class: row.kept.includes(place) ? "chip kept" : "chip" }, `${row.kept.includes(place) ? "✓ " : "✕ "}${subsetName(name)}`))) : null,
          element("dl", {}, facts.map(([name, value]) => [element("dt", {}, name), element("dd", {}, element("bdi", {}, value))]))),
        element("article", {},
          isColoured ? element("p", { class: "legend" }, `${named(criteria[colouredBy])} by window, coloured by rank: ${rated(low, criteria[colouredBy])} `, element("span", { class: "ramp" }), ` ${rated(high, criteria[colouredBy])}`) : null,
          text(current))));
  }

  function open(place, from = null) {
    const dialog = byId("document");
    if (!dialog.open) openedBy = from ?? document.activeElement;
    current = place;
    if (!dialog.open) colouredBy = state.criterion;
    render();
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    byId("document-title").focus({ preventScroll: true });
    if (location.hash !== linkTo(place)) history.replaceState(null, "", linkTo(place));
  }

  function step(by) {
    const places = lists.find((each) => each.includes(current)) ?? lists[0];
    const next = places[places.indexOf(current) + by];
    if (next !== undefined) open(next);
  }

  async function copy() {
    const link = location.href.split("#")[0] + linkTo(current);
    const button = byId("copy");
    try {
      await navigator.clipboard.writeText(link);
      button.textContent = "Copied";
    } catch {
      // some browsers give a file from disk no clipboard: the link is shown, and selected
      const field = element("input", { type: "text", readonly: true, "aria-label": "Link to this document", id: "link" });
      field.value = link;
      button.replaceWith(field);
      field.select();
    }
  }

  function keys(event) {
    const dialog = byId("document");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isTyping = event.target.matches?.("input, select, textarea");
    if (dialog.open && !isTyping) {
      const does = { j: () => step(1), k: () => step(-1), c: copy }[event.key];
      if (does) { event.preventDefault(); does(); }
    } else if (event.key === "/" && !isTyping) {
      event.preventDefault();
      location.hash = "documents";
      setTimeout(() => byId("search").focus());
    } else if (event.target.matches?.("button.item") && ["ArrowDown", "ArrowUp"].includes(event.key)) {
      event.preventDefault();
      const items = [...event.target.closest("ol").querySelectorAll("button.item")];
      items[items.indexOf(event.target) + (event.key === "ArrowDown" ? 1 : -1)]?.focus();
    } else if (event.target.id === "search" && event.key === "ArrowDown") {
      document.querySelector("button.item")?.focus();
    }
  }

  function start() {
    document.addEventListener("keydown", keys);
    byId("document").addEventListener("close", () => {
      current = null;
      history.replaceState(null, "", "#documents");
      openedBy?.isConnected && openedBy.focus();
    });
    // a click beside the document closes it
    byId("document").addEventListener("click", (event) => event.target === byId("document") && byId("document").close());
  }

  /** Open what a link names; returns whether it is in the page. */
  function openById(id) {
    const place = placeById.get(id);
    if (place !== undefined) open(place);
    return place !== undefined;
  }

  return { panel, start, update, open, openById, choose, excerpt, placeOf: (id) => placeById.get(id), texts };
})();
