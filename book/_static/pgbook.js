// Names and roles that the theme leaves out, so that a screen reader and a keyboard get everything.
// Each line answers a rule of axe-core, named behind it.
"use strict";

const each = (selector, act) => document.querySelectorAll(selector).forEach(act);

function nameParts() {
  // summary-name: the arrow that unfolds a chapter says which.
  each("nav.bd-links li > details > summary", (summary) => {
    const chapter = summary.closest("li").querySelector("a");
    summary.setAttribute("aria-label", `Pages of ${chapter ? chapter.textContent.trim() : "this part"}`);
  });
  // region: the title above the table of contents lies outside every landmark.
  each(".bd-sidebar-primary .sidebar-primary-item:has(.navbar-brand)", (item) => {
    item.setAttribute("role", "navigation");
    item.setAttribute("aria-label", "Title page");
  });
  // aria-deprecated-role, aria-required-children: entries of the bibliography are list items.
  each("[role=doc-biblioentry]", (entry) => entry.setAttribute("role", "listitem"));
}

// scrollable-region-focusable: what is wider than its box can be reached and scrolled by keys.
// Boxes change with the window, the sidebar and folded blocks, so each is watched by itself.
const boxes = new ResizeObserver((changed) => {
  for (const { target } of changed) {
    if (target.scrollWidth > target.clientWidth) {
      target.tabIndex = 0;
    } else {
      target.removeAttribute("tabindex");
    }
  }
});

nameParts();
window.addEventListener("load", async () => {
  await window.MathJax?.startup?.promise;
  each("mjx-container[display=true], pre, .pst-scrollable-table-container", (box) => boxes.observe(box));
});
window.addEventListener("beforeprint", () => each("article details", (fold) => (fold.open = true)));
