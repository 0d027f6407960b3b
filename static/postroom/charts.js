// Draws the page's charts: <div class="chart" data-chart="name"> from the JSON of <script id="figures">, and again
// (Plotly.react, which only changes what differs) whenever the figures have been refreshed or the theme has changed.
"use strict";

(() => {
  const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Names of tokens become colours; everything else stays as it is.
  const coloured = (value) => {
    if (typeof value === "string") return value.startsWith("--") ? token(value) : value;
    if (Array.isArray(value)) return value.map(coloured);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, key === "meta" ? each : coloured(each)]));
    }
    return value;
  };

  const axis = (own) => coloured({
    gridcolor: "--line", linecolor: "--line-strong", zerolinecolor: "--line", tickcolor: "--line-strong",
    fixedrange: true, automargin: true, ...own,
  });

  const layout = (own) => ({
    ...coloured(own),
    xaxis: axis({ showgrid: false, ...own.xaxis }),
    yaxis: axis(own.yaxis),
    autosize: true,
    showlegend: false, // the page has one of its own, with links
    margin: { l: 44, r: 10, t: 8, b: 30 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: token("--font"), size: 12, color: token("--ink-2") },
    hoverlabel: { bgcolor: token("--surface"), bordercolor: token("--line-strong"), font: { color: token("--ink") } },
    dragmode: false,
  });

  // Where a point leads: the query of its trace, bounded to its step of time.
  const target = (chart, point) => {
    const { link, begins, until } = chart.layout.meta ?? {};
    const meta = point.data.meta ?? {};
    if (!link) return null;
    const url = new URL(link, location.href);
    const place = point.pointNumber;
    for (const [name, value] of Object.entries(meta.queries?.[place] ?? meta.query ?? {})) url.searchParams.set(name, value);
    if (begins) {
      url.searchParams.delete("time");
      url.searchParams.set("since", begins[place]);
      url.searchParams.set("until", begins[place + 1] ?? until);
    }
    return url;
  };

  const draw = (chart, figure) => {
    const isNew = !chart.data;
    Plotly.react(chart, coloured(figure.data), layout(figure.layout), { displayModeBar: false, responsive: true });
    if (isNew) {
      chart.on("plotly_click", ({ points: [point] }) => {
        const url = target(chart, point);
        if (url) location.assign(url);
      });
    }
  };

  const drawAll = () => {
    const figures = document.getElementById("figures");
    if (!figures || typeof Plotly === "undefined") return;
    const known = JSON.parse(figures.textContent);
    for (const chart of document.querySelectorAll("[data-chart]")) {
      const figure = known[chart.dataset.chart];
      if (figure) draw(chart, figure);
    }
  };

  document.addEventListener("DOMContentLoaded", drawAll);
  document.addEventListener("htmx:afterSettle", drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  new MutationObserver(drawAll).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
})();
