"use strict";
for (const table of document.querySelectorAll("[data-sortable]")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const body = table.tBodies[0];
      const value = (row) => row.cells[column]?.dataset.value ?? "-1";
      const isNumber = head.classList.contains("number");
      const rows = [...body.rows].sort((one, other) => {
        const [a, b] = [value(one), value(other)];
        return (up ? 1 : -1) * (isNumber ? a - b : a < b ? -1 : a > b ? 1 : 0);
      });
      body.append(...rows);
    });
  });
}
