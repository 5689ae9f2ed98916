// The score-function estimator on the Gaussian bandit: x ~ N(mean, std²), f(x) = -(x - target)².
// Every number shown carries its full precision in data-value; a browser test compares each with
// the package.
"use strict";

(() => {
  const TARGET = 1, LEFT = -5, RIGHT = 5, WIDTH = 500, PAD = 10, AXIS = 130, ROW = 15, TOP = AXIS + 42;
  const X = (x) => PAD + ((x - LEFT) / (RIGHT - LEFT)) * (WIDTH - 2 * PAD);
  const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
  const mean = (v) => v.reduce((sum, x) => sum + x, 0) / v.length;
  const shown = (v) => v.toFixed(2).replace(/^-(?=[0.]+$)/, "").replace("-", "−");

  // What chapter 3 proves, and nothing else.
  function compute(mu, sigma, z) {
    const x = z.map((zi) => mu + sigma * zi);
    const pushes = x.map((xi) => (-((xi - TARGET) ** 2) * (xi - mu)) / sigma ** 2);
    const d2 = (mu - TARGET) ** 2, s2 = sigma ** 2;
    const variance = d2 ** 2 / s2 + 14 * d2 + 15 * s2;
    return {
      x, pushes, mean: mu, std: sigma, samples: z.length,
      estimate: mean(pushes),
      gradient: -2 * (mu - TARGET),
      variance,
      error: Math.sqrt(variance / z.length),
      pathwise: mean(x.map((xi) => -2 * (xi - TARGET))),
      "pathwise-variance": 4 * s2,
    };
  }

  const ROWS = [
    ["estimate", "estimate ĝ from these samples"],
    ["gradient", "exact gradient"],
    ["variance", "exact variance of one sample’s arrow"],
    ["error", "standard error of ĝ"],
    ["pathwise", "pathwise estimate, same samples"],
    ["pathwise-variance", "exact variance of one pathwise sample"],
  ];

  function make(tag, attributes = {}, ...children) {
    const svg = ["svg", "g", "path", "line", "circle", "text", "title", "desc"].includes(tag);
    const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  // How much one unit of x stands for: 1, 2 or 5 times a power of ten, so that 4 units hold it all.
  function roundUnit(longest) {
    const power = 10 ** Math.floor(Math.log10(Math.max(longest / 4, 1e-3)));
    return Number([1, 2, 5, 10].map((m) => m * power).find((u) => longest / u <= 4).toPrecision(1));
  }

  // The part of an arrow that lies in the picture; nothing, where none does.
  function arrow(name, from, length, y, kind) {
    const [start, end] = [from, from + length].map((v) => clamp(X(v), 2, WIDTH - 2));
    const head = clamp(end - start, -6, 6);
    const d = head === 0 ? "" : `M${start} ${y}H${end}M${end - head} ${y - Math.abs(head) / 1.6}L${end} ${y}L${end - head} ${y + Math.abs(head) / 1.6}`;
    return make("path", { d, class: `${kind} arrow`, "data-name": name });
  }

  const curve = (f, low = LEFT, high = RIGHT) => "M" + Array.from({ length: 201 }, (_, i) => {
    const x = low + (i / 200) * (high - low);
    return `${X(x).toFixed(1)} ${f(x).toFixed(1)}`;
  }).join("L");

  function draw(layer, now) {
    const { mean: mu, std: sigma, x, pushes } = now;
    const unit = roundUnit(Math.max(...pushes.map(Math.abs)));
    const fine = roundUnit(Math.max(Math.abs(now.estimate), Math.abs(now.gradient) + now.error));
    const bottom = TOP + ROW * x.length + 22, times = Number((unit / fine).toPrecision(2));
    const density = (v) => AXIS - (100 * Math.exp(-0.5 * ((v - mu) / sigma) ** 2)) / Math.max(1, sigma * 1.6);
    layer.replaceChildren(
      make("path", { d: `${curve(density)}V${AXIS}H${X(LEFT)}Z`, class: "density" }),
      make("path", { d: curve((v) => 22 + 6 * (v - TARGET) ** 2, TARGET - 4, TARGET + 4), class: "payment" }),
      make("text", { x: X(TARGET - 3.6), y: 60, class: "middle" }, "f(x)"),
      make("text", { x: X(TARGET), y: 15, class: "middle" }, "target"),
      ...Array.from({ length: 11 }, (_, i) => X(LEFT + i)).map((at) => make("line", { x1: at, x2: at, y1: AXIS - 3, y2: AXIS + 3, class: "axis" })),
      ...[-4, -3, -2, -1, 0, 1, 2, 3, 4].map((v) => make("text", { x: X(v), y: AXIS + 24, class: "middle number" }, `${v}`.replace("-", "−"))),
      make("line", { x1: X(LEFT), x2: X(RIGHT), y1: AXIS, y2: AXIS, class: "axis" }),
      ...[[TOP - 12, bottom - 18], [bottom + 6, bottom + 60]].map(([y1, y2]) => make("line", { x1: X(mu), x2: X(mu), y1, y2, class: "mean" })),
      ...x.flatMap((xi, i) => {
        const y = TOP + ROW * i, outside = xi < LEFT || xi > RIGHT ? " outside" : "";
        return [
          make("circle", { cx: clamp(X(xi), 4, WIDTH - 4), cy: y, r: 3, class: `sample${outside}`, "data-x": xi, "data-push": pushes[i] }),
          arrow(`push-${i}`, xi, pushes[i] / unit, y, "push"),
        ];
      }),
      make("line", { x1: X(LEFT), x2: X(RIGHT), y1: bottom - 18, y2: bottom - 18, class: "axis" }),
      make("text", { x: PAD, y: bottom }, times === 1 ? "Averages, at the same scale" : `Averages, at another scale: ${times} times as long`),
      make("path", {
        d: `M${X(mu + (now.gradient - now.error) / fine)} ${bottom + 38}h${X((2 * now.error) / fine) - X(0)}v12h${X(0) - X((2 * now.error) / fine)}Z`,
        class: "error",
      }),
      arrow("estimate", mu, now.estimate / fine, bottom + 16, "estimate"),
      arrow("gradient", mu, now.gradient / fine, bottom + 44, "gradient"),
      make("text", { x: PAD, y: bottom + 21 }, "average ĝ"),
      make("text", { x: PAD, y: bottom + 49 }, "exact"),
      make("text", { x: PAD, y: bottom + 76, class: "units", "data-samples": unit, "data-averages": fine }, `Tick to tick: ${unit} for samples, ${fine} for averages`),
    );
  }

  function slider(box, id, label, low, high, value) {
    const input = make("input", { type: "range", id, min: low, max: high, step: 0.05, value });
    const output = make("output", { for: id });
    box.append(make("div", { class: "control" }, make("label", { for: id }, label), input, output));
    return [input, output];
  }

  function build(box, number) {
    const batches = JSON.parse(box.dataset.z), id = `score-${number}`;
    let batch = 0, timer;
    const title = make("title", { id: `${id}-title` }, "Samples of a Gaussian policy and how each pushes its mean");
    const description = make("desc", { id: `${id}-desc` });
    const height = TOP + ROW * batches[0].length + 106;
    const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-labelledby": `${id}-title ${id}-desc` }, title, description);
    const layer = make("g"), handle = make("g", { class: "handle" });
    handle.append(make("circle", { r: 22, class: "reach" }), make("circle", { r: 9 }), make("path", { d: "M-4 -3L-7 0L-4 3M4 -3L7 0L4 3" }));
    svg.append(layer, handle);

    const controls = make("div", { class: "controls" });
    const [mu, muShown] = slider(controls, `${id}-mean`, "mean μ", -3, 3, -1);
    const [sigma, sigmaShown] = slider(controls, `${id}-std`, "std σ", 0.2, 1.5, 1);
    const button = make("button", { type: "button" }, `Draw ${batches[0].length} other samples`);
    controls.append(button);

    const cells = {};
    const table = make("table", {}, make("caption", {}, "By the mean μ, with the target at 1"));
    for (const [name, label] of ROWS) {
      cells[name] = make("td", { "data-name": name });
      table.append(make("tr", {}, make("th", { scope: "row" }, label), cells[name]));
    }
    const status = make("p", { role: "status", "aria-live": "polite", class: "spoken" });

    function update() {
      const now = compute(Number(mu.value), Number(sigma.value), batches[batch]);
      draw(layer, now);
      handle.setAttribute("transform", `translate(${X(now.mean)} ${AXIS})`);
      for (const [output, value] of [[muShown, now.mean], [sigmaShown, now.std]]) {
        output.textContent = shown(value);
        output.dataset.value = value;
      }
      for (const name in cells) {
        cells[name].textContent = shown(now[name]);
        cells[name].dataset.value = now[name];
      }
      box.dataset.batch = batch;
      const words = `Mean ${shown(now.mean)}, standard deviation ${shown(now.std)}: the estimate from ${now.samples} samples is ${shown(now.estimate)}, the exact gradient ${shown(now.gradient)}, the standard error ${shown(now.error)}.`;
      description.textContent = words;
      clearTimeout(timer);
      timer = setTimeout(() => (status.textContent = words), 500);
    }

    function dragTo(event) {
      const frame = svg.getBoundingClientRect();
      const x = LEFT + (((event.clientX - frame.left) / frame.width) * WIDTH - PAD) / (WIDTH - 2 * PAD) * (RIGHT - LEFT);
      mu.value = x; // the slider rounds to its step and keeps to its ends
      update();
    }
    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    handle.addEventListener("pointermove", (event) => {
      if (handle.hasPointerCapture(event.pointerId)) dragTo(event);
    });
    for (const input of [mu, sigma]) input.addEventListener("input", update);
    button.addEventListener("click", () => {
      batch = (batch + 1) % batches.length;
      update();
    });

    box.dataset.target = TARGET;
    box.replaceChildren(svg, controls, table, status);
    update();
  }

  document.querySelectorAll('.pg-explorable[data-kind="score"]').forEach(build);
})();
