/** The vendored plotting library, loaded when something is to be drawn, and the colours of the page for it. */

/** Scripts rather than modules: they leave globals, and the second asks for the first's. */
const BUNDLES = ["../vendor/d3-7.9.2/d3.min.js", "../vendor/plot-0.6.17/plot.umd.min.js"];

/** @type {Promise<any> | undefined} */
let loading;

/** Observable Plot and D3, as `Plot` and `d3`. */
export function plotting() {
  loading ??= load();
  return loading;
}

async function load() {
  for (const bundle of BUNDLES) await import(bundle);
  return /** @type {any} */ (globalThis);
}

/** @param {string} name of a custom property that holds a colour; the result is one that a file can hold too */
export function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}
