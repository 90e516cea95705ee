/**
 * What the API sends; see `/docs`. Spans are half-open, in Unicode code points.
 *
 * @typedef {[number, number]} Span
 * @typedef {{code: string, name: string, targets: string[]}} Language
 * @typedef {{charLimit: number, maxAlternatives: number, filesTranslation?: boolean, supportedFilesFormat?: string[]}} Limits
 * @typedef {{done: number, total: number}} Progress of a file, in characters
 * @typedef {{source: Span, target: Span, weight: number}} Link
 * @typedef {{shape: number[], dtype: string, data: string}} Packed 16-bit floats in C order, in base64
 *
 * @typedef {object} Segment
 * @property {Span} source_span
 * @property {Span} target_span
 * @property {string[]} source_tokens
 * @property {string[]} target_tokens
 * @property {Span[]} source_token_spans
 * @property {Span[]} target_token_spans
 * @property {Span[]} source_words
 * @property {Span[]} target_words
 * @property {number} log_prob
 * @property {number} score
 * @property {number[]} token_log_probs
 * @property {string} finish_reason
 * @property {boolean} truncated
 * @property {Link[]} [alignment]
 * @property {Record<string, Packed>} [attention]
 *
 * @typedef {object} Reply
 * @property {string} translatedText
 * @property {string[]} [alternatives]
 * @property {boolean} [truncated]
 * @property {{start: number, end: number, warning: string}[]} [warnings]
 * @property {Segment[]} [segments]
 * @property {Segment[][]} [alternative_segments]
 *
 * What the parts of the page tell each other.
 *
 * @typedef {"cross" | "encoder" | "decoder"} Kind
 * @typedef {number | "mean"} Choice a layer or head, or the mean of all
 * @typedef {{source: string, target: string, text: string, alternatives: number}} Question
 * @typedef {{open: boolean, sentence: number, version: number, kind: Kind, layer: Choice | null, head: Choice}} Look
 *     `layer` null: the last one
 * @typedef {Question & Look} State
 * @typedef {{source: string, target: string, segment: Segment}} Version one sentence and one translation of it
 */
export {};
