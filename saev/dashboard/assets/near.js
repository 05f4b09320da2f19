// The lines of the map: from the latent that the reader points at to the nearest directions.

/**
 * Draws lines from a latent to those with the nearest directions, by cosine. They may lie far away:
 * neither figures nor a projection keep all neighbours together.
 * @param {number} latent
 */
async function showNear(latent) {
  const { neighbours: near, cosines } = await dataOf(latent);
  if (latent !== picked) return;
  const [x1, y1] = plotted.place(latent);
  const there = near.filter((other) => !plotted.place(other).some(Number.isNaN));
  const lines = there.flatMap((other) => {
    const [x2, y2] = plotted.place(other);
    return [draw("line", { x1, y1, x2, y2 }), draw("circle", { cx: x2, cy: y2, r: 5 })];
  });
  at("near-lines").replaceChildren(...(Number.isNaN(x1 + y1) ? [] : lines));
  if (!near.length) return;
  const listedNear = near.map((other, i) => `${other} (${share(cosines[i])})`);
  at("map-said").append(plain(`. Nearest directions, by cosine: ${listedNear.join(", ")}`));
}
