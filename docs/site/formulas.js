for (const formula of document.querySelectorAll(".arithmatex")) {
  const display = formula.tagName === "DIV";
  katex.render(formula.textContent.slice(2, -2), formula, {displayMode: display, throwOnError: false, strict: false});
}
