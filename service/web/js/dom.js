/** Making and finding elements. Text only ever becomes text. */

/**
 * The element of this id, which the page must have.
 * @template {Element} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function find(id, type) {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`#${id} is no ${type.name}`);
  return element;
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string | number | boolean>} [attributes] `true` gives an empty one, `false` none
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children);
  return element;
}

/**
 * @param {HTMLSelectElement} select
 * @param {{value: string, label: string, disabled?: boolean}[]} options
 * @param {string} value
 */
export function fill(select, options, value) {
  select.replaceChildren(
    ...options.map(({ value: each, label, disabled }) =>
      make("option", { value: each, selected: each === value, disabled: disabled ?? false }, label),
    ),
  );
  select.value = value;
}

/**
 * One tab stop for many elements; arrow keys, Home and End move between them.
 * @param {HTMLElement} container
 * @param {string} selector of the elements, those that are there when a key is pressed
 * @param {() => number} columns how many stand in a row, for the keys up and down
 */
export function rove(container, selector, columns) {
  const items = () => /** @type {HTMLElement[]} */ ([...container.querySelectorAll(selector)]);
  container.addEventListener("focusin", (event) => {
    for (const item of items()) item.tabIndex = item === event.target ? 0 : -1;
  });
  container.addEventListener("keydown", (event) => {
    const all = items();
    const here = all.indexOf(/** @type {HTMLElement} */ (event.target));
    const width = columns();
    /** @type {Record<string, number>} */
    const steps = {
      ArrowRight: here + 1,
      ArrowLeft: here - 1,
      ArrowDown: here + width,
      ArrowUp: here - width,
      Home: 0,
      End: all.length - 1,
    };
    const next = all[steps[event.key] ?? -1];
    if (here < 0 || !next || event.defaultPrevented) return;
    event.preventDefault();
    next.focus();
  });
}
