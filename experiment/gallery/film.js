/** A film: of its frames, which stand below each other in one picture, a slider shows one. */
function filmOf(src, name) {
  const image = make("img", { src, alt: `film of ${name}` });
  const slider = make("input", { type: "range", min: 0, max: 0, "aria-label": `frame of the film of ${name}` });
  const move = () => { image.style.transform = `translateY(${(-100 * slider.value) / (Number(slider.max) + 1)}%)`; };
  image.addEventListener("load", () => {
    slider.max = Math.round((1000 * image.naturalHeight) / image.naturalWidth / 560) - 1; // see common/plotting/film.py
    slider.value = slider.max;
    move();
  });
  slider.addEventListener("input", move);
  return make("div", { class: "film" }, make("div", {}, image), slider);
}
