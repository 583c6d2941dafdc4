// Elements and text. Everything that a corpus says goes through `visible` or `plain` into text nodes: no markup is parsed.
"use strict";

// Characters that hide or reorder others: controls, zero-width spaces, bidi marks and overrides, fillers, tags, private
// use, and surrogates without a partner. Tab, line ends, and the joiners that scripts and emoji need stay.
const HIDDEN =
  /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb]|\r(?!\n)|[\u{e0000}-\u{e0fff}]|\p{Surrogate}|\p{Noncharacter_Code_Point}|\p{Private_Use}/gu;

const codePoint = (character) => "U+" + character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");

/** Text for places that take only text (labels of figures, options of a list): hidden characters as ⟨U+202E⟩. */
const plain = (text) => String(text ?? "–").replace(HIDDEN, (found) => `⟨${codePoint(found)}⟩`);

/** Text as nodes: hidden characters become small marks. */
function visible(text) {
  const nodes = document.createDocumentFragment();
  let end = 0;
  for (const found of text.matchAll(HIDDEN)) {
    nodes.append(text.slice(end, found.index));
    const mark = document.createElement("span");
    mark.className = "mark";
    mark.textContent = codePoint(found[0]);
    nodes.append(mark);
    end = found.index + found[0].length;
  }
  nodes.append(text.slice(end));
  return nodes;
}

/**
 * An element. Attributes that are functions are listeners, `data` and `style` are objects, null and false leave an
 * attribute out. Children are nodes, or text that is shown by `visible`.
 */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (name === "data") Object.assign(made.dataset, value);
    else if (name === "style") for (const [key, each] of Object.entries(value)) made.style.setProperty(key, each);
    else if (value !== null && value !== false && value !== undefined) made.setAttribute(name, value === true ? "" : plain(value));
  }
  for (const child of children.flat(2)) {
    if (child === null || child === undefined || child === false) continue;
    made.append(child instanceof Node ? child : visible(String(child)));
  }
  return made;
}

const byId = (id) => document.getElementById(id);

// --- numbers

const known = (value) => value !== null && value !== undefined && value !== "";

/** A number with a minus sign and `digits` decimals, – where it is not known. */
function decimal(value, digits = 2) {
  if (!known(value) || typeof value !== "number") return known(value) ? plain(value) : "–";
  const text = value.toFixed(digits);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
}

const percent = (share, digits = 0) => (known(share) ? `${decimal(100 * share, digits)} %` : "–");

const whole = (value) => (known(value) ? Number(value).toLocaleString("en-GB") : "–");

/** A count in three digits: 987, 12.3K, 4.56M. */
function short(value) {
  if (!known(value)) return "–";
  for (const [size, letter] of [[1e9, "B"], [1e6, "M"], [1e3, "K"]]) {
    if (value >= size) return (value / size).toPrecision(3) + letter;
  }
  return String(value);
}

const several = (number, noun) => `${whole(number)} ${noun}${number === 1 ? "" : "s"}`;

/** A name for people: underscores as spaces. */
const named = (name) => String(name ?? "–").replaceAll("_", " ");

/** A name in at most `width` characters, with its middle left out. */
function shortened(name, width) {
  const characters = [...String(name ?? "–")];
  const half = (width - 1) / 2;
  return characters.length <= width
    ? characters.join("")
    : characters.slice(0, Math.ceil(half)).join("") + "…" + characters.slice(-Math.floor(half)).join("");
}

const unique = (values) => [...new Set(values)];

// --- small parts of the page

/** A table: `columns` are [heading, cell of a row, "name" for text]. */
function table(columns, rows) {
  const head = columns.map(([heading, , kind]) => element("th", { scope: "col", class: kind }, heading));
  const body = rows.map((row) => element("tr", {}, columns.map(([, cell, kind]) => element("td", { class: kind }, cell(row)))));
  return element("div", { class: "scroll", tabindex: 0 }, element("table", {}, element("thead", {}, element("tr", {}, head)), element("tbody", {}, body)));
}

let fieldNumber = 0;

/** A labelled field. */
function field(label, input, className = "field") {
  input.id ||= `field-${++fieldNumber}`;
  return element("span", { class: className }, element("label", { for: input.id }, label), input);
}

/** A labelled list of choices [value, label]; `changed` gets the value that was chosen. */
function choice(label, options, changed, chosen = null) {
  const select = element("select", { change: () => changed(select.value) }, options.map(([value, text]) =>
    element("option", { value: null, selected: value === chosen }, shortened(text, 60))));
  // values are set as properties: an attribute would be shown with marks
  [...select.options].forEach((option, place) => { option.value = options[place][0]; });
  return field(label, select);
}
