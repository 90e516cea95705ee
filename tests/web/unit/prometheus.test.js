import assert from "node:assert/strict";
import { test } from "node:test";
import { buckets, parse, quantile, total } from "../../../service/web/js/prometheus.js";

const TEXT = `# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{endpoint="translate",outcome="ok"} 3.0
requests_total{endpoint="score",outcome="ok"} 4.0
requests_total{endpoint="metrics",outcome="ok"} 100.0
info{name="a \\"b\\" \\\\ {c},\\n"} 1.0
rows 1e+03

wait_bucket{le="0.1"} 10.0
wait_bucket{le="0.5"} 30.0
wait_bucket{le="+Inf"} 40.0
`;

test("samples have a name, labels and a value", () => {
  const samples = parse(TEXT);
  assert.equal(samples.length, 8);
  assert.equal(samples[3].labels.name, 'a "b" \\ {c},\n');
  assert.equal(total(samples, "rows"), 1000);
  assert.equal(total(samples, "requests_total", { endpoint: ["translate", "score"] }), 7);
  assert.equal(total(samples, "nothing"), 0);
});

test("quantiles of what came between two looks", () => {
  const after = buckets(parse(TEXT), "wait");
  assert.deepEqual([...after], [[0.1, 10], [0.5, 30], [Infinity, 40]]);
  const none = new Map();
  const near = (found, wanted) => assert.ok(Math.abs(found - wanted) < 1e-12, `${found}`);
  near(quantile(none, after, 0.125), 0.05);
  near(quantile(none, after, 0.5), 0.3);
  assert.equal(quantile(none, after, 0.99), 0.5, "beyond the last bound");
  assert.equal(quantile(after, after, 0.5), null, "nothing came");
  near(quantile(new Map([[0.1, 10], [0.5, 10], [Infinity, 20]]), after, 0.5), 0.3);
});
