/** Files for the person who looks, made in the page. */

/**
 * @param {Blob} blob
 * @param {string} name
 */
export function save(blob, name) {
  const address = URL.createObjectURL(blob);
  const anchor = document.createElement("a");
  anchor.href = address;
  anchor.download = name;
  anchor.click();
  // The browser reads it after this turn.
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** @param {unknown} value */
export function jsonBlob(value) {
  return new Blob([JSON.stringify(value, null, 1)], { type: "application/json" });
}

/** @param {SVGElement} svg */
export function svgBlob(svg) {
  const text = new XMLSerializer().serializeToString(svg);
  return new Blob([text], { type: "image/svg+xml" });
}

/**
 * A picture with so many pixels for each of its own.
 * @param {SVGSVGElement} svg
 * @param {number} scale
 * @returns {Promise<Blob>}
 */
export async function pngBlob(svg, scale) {
  const image = new Image();
  const address = URL.createObjectURL(svgBlob(svg));
  try {
    image.src = address;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = scale * svg.width.baseVal.value;
    canvas.height = scale * svg.height.baseVal.value;
    canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((resolve, reject) => {
      canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture"))), "image/png");
    });
  } finally {
    URL.revokeObjectURL(address);
  }
}
