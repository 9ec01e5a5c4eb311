//! Log shipping between machines: frames, sender, receiver, epochs, catch-up.
//!
//! Not there yet. The log's records already carry their source stream and LSN for it.
//!
//! Must not know: HTTP.
