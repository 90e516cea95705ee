/**
 * What `/internals/search` and `/internals` send; see `/docs`.
 *
 * @typedef {"kept" | "ended" | "dropped"} Fate
 * @typedef {{beam: number, token: string, token_log_prob: number, log_prob: number, fate: Fate}} Candidate
 * @typedef {object} Found
 * @property {number[]} target_ids
 * @property {string[]} tokens
 * @property {string} text
 * @property {number} log_prob
 * @property {number} score
 * @property {string} finish_reason
 *
 * @typedef {object} SearchReply
 * @property {string[]} source_tokens
 * @property {number} beam_size
 * @property {Record<import("./types.js").Kind, [number, number]>} stacks layers, and heads in each
 * @property {Candidate[][]} steps
 * @property {Found[]} hypotheses
 *
 * @typedef {number[][]} Matrix
 * @typedef {{token: string, log_prob: number}} Next
 *
 * @typedef {object} InternalsReply
 * @property {import("./types.js").Kind} kind
 * @property {number} layer
 * @property {number} head
 * @property {string[]} source_tokens
 * @property {string[]} target_tokens
 * @property {string[]} rows
 * @property {string[]} columns
 * @property {Matrix} query
 * @property {Matrix} key
 * @property {Matrix} value
 * @property {Matrix} products
 * @property {Matrix} scores
 * @property {Matrix} weights
 * @property {Matrix[]} heads
 * @property {(number | null)[]} token_log_probs
 * @property {Next[][]} next
 * @property {Embedding} [embedding]
 *
 * @typedef {{source_tokens: Matrix, source_positions: Matrix, target_tokens: Matrix, target_positions: Matrix}} Embedding
 * @typedef {{source: string, target: string, text: string, beams: number}} Asked
 */
export {};
