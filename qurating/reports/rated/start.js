// Tabs, addresses, light and dark, and the start.
"use strict";

const RESPONSIBLE = [
  "A rating is a model's guess at another model's preference between two texts. It says nothing about the person who wrote the text, and it is not a measure of truth, skill or worth.",
  "Raters learn tastes along with quality: for a dialect, a register, a topic, a country's institutions. What a selection drops is often what a group of people wrote. Look at the tab Selections by the labels that you have before you train on a subset.",
  "These texts are shown to check the ratings. They may be wrong, offensive or personal, and they are other people's work: pass this page on only to those who may read the corpus, and do not rank people by it.",
];

const TABS = [
  ["overview", "Overview", overview], ["criteria", "Criteria", criteria], ["trust", "Trust", trust],
  ["selections", "Selections", selections], ["results", "Results", results], ["documents", "Documents", () => EXPLORER.panel()], ["provenance", "Provenance", provenance],
];

/** Make the content of a tab, once: the open one at the start, the others when the page is shown or when they are opened. */
function ensure(name) {
  const panel = byId(`panel-${name}`);
  if (panel.dataset.made) return;
  panel.dataset.made = "yes";
  const [, label, content] = TABS.find(([id]) => id === name);
  panel.append(element("h2", { class: "print-only" }, label), ...[content()].flat(2));
  if (name === "documents") EXPLORER.update();
}

function show(name, isFocused = false) {
  ensure(name);
  for (const [id] of TABS) {
    const tab = byId(`tab-${id}`), isShown = id === name;
    tab.setAttribute("aria-selected", String(isShown));
    tab.tabIndex = isShown ? 0 : -1;
    if (isShown) byId("tabs").scrollLeft = tab.offsetLeft - 48; // on a phone they do not all fit
    if (isShown && isFocused) tab.focus({ preventScroll: true });
    byId(`panel-${id}`).hidden = !isShown;
  }
}

function tabs() {
  TABS.forEach(([id, label], place) => {
    byId("tabs").append(element("button", {
      type: "button", role: "tab", id: `tab-${id}`, "aria-controls": `panel-${id}`,
      click: () => { location.hash = id; },
      keydown: (event) => {
        const to = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: TABS.length - 1 }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        const next = TABS[(to + TABS.length) % TABS.length][0];
        history.replaceState(null, "", `#${next}`);
        show(next, true);
      },
    }, label));
    byId("main").append(element("section", { role: "tabpanel", id: `panel-${id}`, "aria-labelledby": `tab-${id}`, hidden: true }));
  });
}

/** Show what the address names: #trust, #doc=…, #manifest=… */
function route() {
  const [key, ...rest] = location.hash.slice(1).split("=");
  let value = rest.join("=");
  try { value = decodeURIComponent(value); } catch { /* a broken escape: taken as it is */ }
  if (key !== "doc" && byId("document").open) byId("document").close();
  if (key === "doc") {
    show("documents");
    byId("absent-document").hidden = EXPLORER.openById(value);
    byId("absent-document").replaceChildren(visible(`The document ${value} is not in this page, which has a sample of the corpus.`));
  } else if (key === "manifest") {
    show("provenance");
    openManifest(value);
  } else {
    show(TABS.some(([id]) => id === key) ? key : "overview");
  }
}

function head() {
  const corpus = artifactsOf("corpus")[0];
  const counts = ABOUT.counts ?? {};
  const title = ABOUT.title ?? (corpus ? `Ratings of ${corpus.replace(/^corpora\//, "")}` : "A rated corpus");
  byId("title").replaceChildren(visible(title));
  document.title = plain(title);
  const facts = [
    known(ABOUT.tokens) && `${short(ABOUT.tokens)} tokens`, known(counts.sequences) && `${whole(counts.sequences)} sequences`,
    known(counts.corpus_sequences) && counts.corpus_sequences > counts.sequences && `an even sample of ${whole(counts.corpus_sequences)}`,
    FACTS.groups.domain && several(FACTS.groups.domain.num, "domain"),
    FACTS.criteria.length && (FACTS.criteria.length === 1 ? "1 criterion" : `${FACTS.criteria.length} criteria`),
    FACTS.documents.subsets.length && several(FACTS.documents.subsets.length, "selection"),
  ];
  byId("lead").replaceChildren(visible(facts.filter(Boolean).join(" · ")));
  if (isSimulated()) {
    byId("banners").append(element("div", { class: "banner", role: "note" }, element("strong", {}, "Simulated judge"),
      "The preferences behind these ratings come from a program that computes simple statistics of texts, not from a language model. The page shows that the method works; it says nothing about the criteria of the names."));
  }
  byId("banners").append(element("p", { id: "absent-document", class: "absent", role: "alert", hidden: true }));
}

const isSimulated = () => Boolean(ABOUT.judge_is_simulated) || Boolean(ABOUT.labels?.includes("simulated judge"));

function theme() {
  const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)");
  const remembered = (() => { try { return localStorage.getItem("qurating-theme"); } catch { return null; } })();
  if (["light", "dark"].includes(remembered)) root.dataset.theme = remembered;
  const isDark = () => (root.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  const label = () => { byId("theme").textContent = isDark() ? "Light" : "Dark"; byId("theme").setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`); };
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("qurating-theme", root.dataset.theme); } catch { /* a browser that stores nothing for files */ }
    label();
  });
  dark.addEventListener("change", label);
  label();
}

theme();
head();
tabs();
EXPLORER.start();
route();
addEventListener("hashchange", route);
{
  let width = columnWidth(), waiting = null;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { if (columnWidth() !== width) { width = columnWidth(); drawAll(true); } }, 200);
  });
}
document.documentElement.dataset.ready = "yes";
requestAnimationFrame(() => setTimeout(async () => {
  await drawAll(); // of the open tab
  for (const [id] of TABS) {
    ensure(id);
    await new Promise((resume) => setTimeout(resume)); // the page answers meanwhile
  }
  await drawAll();
  document.documentElement.dataset.drawn = "all";
}));
