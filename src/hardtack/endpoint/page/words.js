// How numbers, times and answers are said to a person.

export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 999.5 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${bytes >= 100 || unit === 0 ? Math.round(bytes) : bytes.toPrecision(2)} ${units[unit]}`;
}

export function duration(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export function milliseconds(seconds) {
  if (seconds === null) return "–";
  return seconds < 10 ? `${(seconds * 1000).toPrecision(seconds < 0.1 ? 2 : 3) / 1} ms` : duration(seconds);
}

export function share(part, whole) {
  return `${Math.floor((100 * part) / Math.max(1, whole))} %`;
}

// 99.6 % is not 100 %: rounded down.
export function confidence(value) {
  return `${Math.floor(value * 1000) / 10} %`;
}

export function time(iso) {
  const at = new Date(iso);
  const today = at.toDateString() === new Date().toDateString();
  return today ? at.toLocaleTimeString() : at.toLocaleString();
}

// What an image query was answered.
export function answer(query) {
  const result = query.result;
  if (!result) return query.metadata?.error ? "no answer" : "waiting for its answer";
  switch (result.result_type) {
    case "counting":
      return result.greater_than_max ? `more than ${result.count}` : `${result.count}`;
    case "bounding_box":
      if (result.label === "BOUNDING_BOX") return many(query.rois?.length ?? 0, "object", "objects");
      if (result.label === "GREATER_THAN_MAX") return `more than ${query.rois?.length ?? 0} objects`;
      return result.label === "NO_OBJECTS" ? "no objects" : "unclear";
    case "text_recognition":
      return result.text ? `“${result.text}”` : "no text";
    default:
      return result.label;
  }
}

export function many(count, one, more) {
  return `${count} ${count === 1 ? one : more}`;
}
