// A classic script, run before the first paint: a page that is to be dark must not flash white.
try {
  const theme = localStorage.getItem("attend.theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // No storage, no preference.
}
