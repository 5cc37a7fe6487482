(() => {
  const data = JSON.parse(document.getElementById("points").textContent);
  const tip = document.getElementById("tip");
  const architecture = (gene) => {
    const seen = {}, layers = {}, single = [];
    data.choices.forEach(([name, values, when], i) => {
      if (when && !(seen[when[0]] >= when[1])) return;
      const value = values[gene.charCodeAt(i) - 48];
      seen[name] = value;
      const [kind, layer] = name.split(".");
      if (layer === undefined) single.push([name.replaceAll("_", " "), value]);
      else (layers[kind.replaceAll("_", " ")] ??= []).push(value);
    });
    return [...single, ...Object.entries(layers).map(([k, v]) => [k, v.join(" ")])];
  };
  const show = (rows, x, y) => {
    tip.replaceChildren(...rows.map(([name, value]) => {
      const line = document.createElement("div");
      if (value === undefined) { line.className = "head"; line.textContent = name; return line; }
      const a = document.createElement("span"), b = document.createElement("b");
      a.textContent = name; b.textContent = value;
      line.append(a, b);
      return line;
    }));
    tip.hidden = false;
    const box = tip.getBoundingClientRect(), wide = document.documentElement.clientWidth;
    tip.style.left = Math.max(8, Math.min(x + 14, wide - box.width - 8)) + "px";
    tip.style.top = (y + 18 + box.height > window.innerHeight ? Math.max(8, y - box.height - 12) : y + 18) + "px";
  };
  let marked = null;
  const hide = () => { tip.hidden = true; marked?.classList.remove("on"); marked = null; };
  const describe = (circle) => {
    if (circle.dataset.tip) {
      return circle.dataset.tip.split("|").map((line, i) => (i ? [line, ""] : [line]));
    }
    const journal = data.journals[circle.parentNode.dataset.points];
    const [loss, ms, gene] = journal.points[circle.dataset.r];
    return [[`${journal.name}, evaluation ${circle.dataset.r}`], ["loss", loss.toFixed(4)],
      ["predicted", ms.toPrecision(4) + " ms"], ...architecture(gene)];
  };
  for (const svg of document.querySelectorAll("figure svg")) {
    const circles = [...svg.querySelectorAll("circle[data-r], circle[data-tip]")];
    if (!circles.length) continue;
    const places = circles.map((c) => [+c.getAttribute("cx"), +c.getAttribute("cy")]);
    const find = (event) => {
      const scale = svg.viewBox.baseVal.width / svg.getBoundingClientRect().width;
      const at = svg.getBoundingClientRect();
      const x = (event.clientX - at.left) * scale, y = (event.clientY - at.top) * scale;
      let best = -1, least = 18 * 18;
      places.forEach(([px, py], i) => {
        const d = (px - x) ** 2 + (py - y) ** 2;
        if (d < least) { least = d; best = i; }
      });
      if (best < 0) return hide();
      if (marked !== circles[best]) { marked?.classList.remove("on"); marked = circles[best]; marked.classList.add("on"); }
      show(describe(marked), event.clientX, event.clientY);
    };
    svg.addEventListener("pointermove", find);
    svg.addEventListener("pointerdown", find);
    svg.addEventListener("pointerleave", hide);
  }
  const words = { value: "", change: "the first over the second, less one", min: "the least of", max: "the most of",
    sum: "the sum of", count: "the number of" };
  document.addEventListener("pointerover", (event) => {
    const from = event.target.closest?.("data[data-source], tspan[data-source]");
    if (!from) { if (!event.target.closest?.("svg")) hide(); return; }
    const how = from.dataset.how ?? "value", places = from.dataset.source.split(" ").map((p) => [decodeURI(p)]);
    const told = words[how] ?? how.replaceAll("-", " ").replace(":", " ");
    show([...(told ? [[told]] : []), ...places], event.clientX, event.clientY);
  });
  window.addEventListener("scroll", hide, { passive: true });
  window.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
})();
