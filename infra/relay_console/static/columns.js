// Which of the three columns a narrow screen shows.

/** @type {NodeListOf<HTMLElement>} */
const buttons = document.querySelectorAll("#columns button");

export function showColumn(name) {
  document.body.dataset.column = name;
  for (const button of buttons) button.setAttribute("aria-current", `${button.dataset.to === name}`);
}

for (const button of buttons) button.addEventListener("click", () => showColumn(button.dataset.to));
