/** Return percentiles of values, interpolated linearly as NumPy does. */
export function percentiles(values: ArrayLike<number>, levels: number[]): number[] {
  const sorted = Float64Array.from(values).sort();
  return levels.map((level) => {
    const place = (level / 100) * (sorted.length - 1);
    const [below, above] = [sorted[Math.floor(place)]!, sorted[Math.ceil(place)]!];
    return below + (above - below) * (place - Math.floor(place));
  });
}
