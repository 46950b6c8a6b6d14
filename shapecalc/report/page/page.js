"use strict";
// The values of a chart at the epoch under the pointer.
for (const svg of document.querySelectorAll("svg[data-chart]")) {
  const chart = JSON.parse(svg.dataset.chart);
  const [left, right, top, bottom] = chart.plot;
  const out = svg.parentElement.querySelector("output");
  const atRest = out.textContent;
  const along = chart.lines[0][1].map(([x]) => x);
  const place = (x) => chart.log ? Math.log(x / chart.from) / Math.log(chart.to / chart.from)
                                 : (x - chart.from) / (chart.to - chart.from);
  const said = (y) => chart.percent ? `${(100 * y).toFixed(1)}\u00a0%` : String(+y.toPrecision(4));
  const rule = document.createElementNS(svg.namespaceURI, "line");
  rule.setAttribute("class", "pointer");
  rule.setAttribute("y1", top);
  rule.setAttribute("y2", bottom);
  svg.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const share = (at.x - left) / (right - left);
    const distance = (x) => Math.abs(place(x) - share);
    const x = along.reduce((near, next) => distance(next) < distance(near) ? next : near);
    rule.setAttribute("x1", left + place(x) * (right - left));
    rule.setAttribute("x2", left + place(x) * (right - left));
    svg.append(rule);
    const values = chart.lines.map(([name, points]) => [name, points.find(([other]) => other === x)]);
    const words = values.filter(([, point]) => point).map(([name, point]) => `${name} ${said(point[1])}`.trim());
    out.textContent = `${chart.across} ${x}: ${words.join(", ")}`;
  });
  svg.addEventListener("pointerleave", () => {
    rule.remove();
    out.textContent = atRest;
  });
}
