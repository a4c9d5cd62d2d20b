const form = document.querySelector("form");
const list = document.querySelector("ol");
const trouble = document.querySelector("[role=alert]");

/** One line of the list; the text is text, whatever it contains. */
function line(note) {
  const item = document.createElement("li");
  item.textContent = note.text;
  return item;
}

async function ask(options) {
  const answer = await fetch("/notes", options);
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  return answer.json();
}

async function show() {
  list.replaceChildren(...(await ask()).map(line));
}

/** Says what went wrong instead of leaving the page silent. */
async function attempt(step) {
  try {
    await step();
    trouble.textContent = "";
  } catch (error) {
    trouble.textContent = error.message;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    await ask({ method: "POST", body: JSON.stringify({ text: form.elements.text.value }) });
    form.reset();
    await show();
  });
});

attempt(show);
