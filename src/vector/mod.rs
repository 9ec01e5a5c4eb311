//! The vector index: distance kernels, quantizers, the graph, filters over doc-id sets.
//!
//! Not there yet; `"embedding"` in a collection's definition is refused with a clear error.
//!
//! Must not know: files, threads, HTTP.
