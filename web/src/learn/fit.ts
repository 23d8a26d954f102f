/**
 * Fit of a linear head, as `orbitune.mapping.linear_head` fits one: the least cross-entropy on standardised features,
 * with weights and biases regularised towards those of a start. The minimum is found by L-BFGS (Nocedal 1980).
 */

export interface Head {
  classes: string[];
  /** Row by row, (classes, width). */
  weight: Float64Array;
  bias: Float64Array;
  width: number;
}

export interface Sample {
  features: ArrayLike<number>;
  /** Index of its class. */
  label: number;
}

const DECAY = 1e-2;
const ITERATIONS = 200;
const KEPT = 10;
const GRADIENT = 1e-5;

/** Return the logits of one picture, not calibrated. */
export function logitsOf(head: Head, features: ArrayLike<number>): Float64Array {
  return head.bias.map((bias, row) => {
    let sum = bias;
    for (let column = 0; column < head.width; column++) sum += head.weight[row * head.width + column]! * features[column]!;
    return sum;
  });
}

export function softmax(logits: Float64Array): Float64Array {
  const largest = Math.max(...logits);
  const raised = logits.map((each) => Math.exp(each - largest));
  const total = raised.reduce((sum, each) => sum + each, 0);
  return raised.map((each) => each / total);
}

/** Return whether the most probable class of a sample is its own. */
export function isRight(head: Head, { features, label }: Sample): boolean {
  const logits = logitsOf(head, features);
  return logits.indexOf(Math.max(...logits)) === label;
}

/** Return a head with further classes, which start without weights. */
export function extend(head: Head, classes: string[]): Head {
  const weight = new Float64Array(classes.length * head.width);
  weight.set(head.weight);
  const bias = new Float64Array(classes.length);
  bias.set(head.bias);
  return { classes, weight, bias, width: head.width };
}

/** Fit a head to samples. @param start with the classes of the labels. */
export function fitHead(start: Head, samples: Sample[]): Head {
  const { width } = start;
  const classes = start.classes.length;
  const { mean, deviation } = standardise(samples, width);
  const inputs = samples.map(({ features }) => mean.map((each, column) => (features[column]! - each) / deviation[column]!));
  const known = samples.map(({ features }) => logitsOf(start, features));
  const step = minimise(new Float64Array(classes * (width + 1)), (values, gradient) => {
    gradient.fill(0);
    let loss = 0;
    samples.forEach(({ label }, place) => {
      const x = inputs[place]!;
      const logits = known[place]!.map((each, row) => {
        let sum = each + values[classes * width + row]!;
        for (let column = 0; column < width; column++) sum += values[row * width + column]! * x[column]!;
        return sum;
      });
      const found = softmax(logits);
      loss -= Math.log(Math.max(found[label]!, 1e-300)) / samples.length;
      for (let row = 0; row < classes; row++) {
        const slope = (found[row]! - (row === label ? 1 : 0)) / samples.length;
        for (let column = 0; column < width; column++) gradient[row * width + column]! += slope * x[column]!;
        gradient[classes * width + row]! += slope;
      }
    });
    for (let place = 0; place < values.length; place++) {
      loss += DECAY * values[place]! ** 2;
      gradient[place]! += 2 * DECAY * values[place]!;
    }
    return loss;
  });
  const fitted = extend(start, start.classes);
  for (let row = 0; row < classes; row++) {
    fitted.bias[row]! += step[classes * width + row]!;
    for (let column = 0; column < width; column++) {
      const scaled = step[row * width + column]! / deviation[column]!;
      fitted.weight[row * width + column]! += scaled;
      fitted.bias[row]! -= scaled * mean[column]!;
    }
  }
  return fitted;
}

function standardise(samples: Sample[], width: number): { mean: Float64Array; deviation: Float64Array } {
  const mean = new Float64Array(width);
  const deviation = new Float64Array(width);
  for (const { features } of samples) mean.forEach((_, column) => (mean[column]! += features[column]! / samples.length));
  for (const { features } of samples) {
    mean.forEach((each, column) => (deviation[column]! += (features[column]! - each) ** 2 / samples.length));
  }
  return { mean, deviation: deviation.map((each) => Math.sqrt(each) + 1e-6) };
}

type Objective = (values: Float64Array, gradient: Float64Array) => number;

/** Return the minimum of a convex function by L-BFGS with backtracking. */
export function minimise(start: Float64Array, objective: Objective): Float64Array {
  let values = start.slice();
  let gradient = new Float64Array(start.length);
  let loss = objective(values, gradient);
  const pairs: { moved: Float64Array; turned: Float64Array; scale: number }[] = [];
  for (let iteration = 0; iteration < ITERATIONS && Math.sqrt(dot(gradient, gradient)) > GRADIENT; iteration++) {
    const direction = descent(gradient, pairs);
    const slope = dot(direction, gradient);
    const next = new Float64Array(values.length);
    const nextGradient = new Float64Array(values.length);
    let length = pairs.length ? 1 : Math.min(1, 1 / Math.sqrt(dot(gradient, gradient)));
    let nextLoss = Infinity;
    for (let tries = 0; tries < 30; tries++, length /= 2) {
      values.forEach((each, place) => (next[place] = each + length * direction[place]!));
      nextLoss = objective(next, nextGradient);
      if (nextLoss <= loss + 1e-4 * length * slope) break;
    }
    if (!(nextLoss < loss)) break;
    const moved = next.map((each, place) => each - values[place]!);
    const turned = nextGradient.map((each, place) => each - gradient[place]!);
    const curvature = dot(moved, turned);
    if (curvature > 1e-12) pairs.push({ moved, turned, scale: 1 / curvature });
    if (pairs.length > KEPT) pairs.shift();
    [values, gradient, loss] = [next, nextGradient, nextLoss];
  }
  return values;
}

/** Return the direction of L-BFGS: the gradient times an estimate of the inverse Hessian, downwards. */
function descent(gradient: Float64Array, pairs: { moved: Float64Array; turned: Float64Array; scale: number }[]): Float64Array {
  const direction = gradient.map((each) => -each);
  const factors = pairs.map(() => 0);
  for (let place = pairs.length - 1; place >= 0; place--) {
    const { moved, turned, scale } = pairs[place]!;
    factors[place] = scale * dot(moved, direction);
    turned.forEach((each, index) => (direction[index]! -= factors[place]! * each));
  }
  const last = pairs.at(-1);
  const size = last ? 1 / (last.scale * dot(last.turned, last.turned)) : 1;
  direction.forEach((each, index) => (direction[index] = each * size));
  pairs.forEach(({ moved, turned, scale }, place) => {
    const back = factors[place]! - scale * dot(turned, direction);
    moved.forEach((each, index) => (direction[index]! += back * each));
  });
  return direction;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let place = 0; place < a.length; place++) sum += a[place]! * b[place]!;
  return sum;
}
