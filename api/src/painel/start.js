// The page is painted before its modules are fetched and compiled, which would keep it waiting. Then all of them at
// once, and not one after the other as they are imported.
const MODULES = ["painel", "asset", "chart", "data", "dom", "models", "record", "table", "words"];

const afterPainting = (work) => requestAnimationFrame(() => setTimeout(work));
// Nothing is painted in a tab that is not seen.
const soon = document.visibilityState === "visible" ? afterPainting : setTimeout;
soon(() => MODULES.forEach((name) => import(`./${name}.js`)));
