//! Group 0x0B: many requests in one.

use super::declare::group;
use super::list::List;
use super::sub::{SubReply, SubRequest};

group! {
    /// Many requests in one. The object of these requests is 0.
    0x0b "batch";
    reserved {}

    /// Executes requests in order, each on its own: not all or nothing. Streams, batches and
    /// groups 0x00, 0x02 and 0x0A cannot be in it, nor requests that have to wait: for a lock, or
    /// for the disk as CREATE does. The extension `lease` holds for all of group 0x04 in it. Of what
    /// a cluster shares it takes counters, and of caches what is no stream: requests of one key are
    /// executed in their order, those of a whole cache behind all before them and before all behind
    /// them, and each has its own outcome; all else is `UNSUPPORTED_OP`.
    0x0b01 BATCH Batch<'a> (Dedup, Inner, none) {
        /// At most `max_keys`.
        requests: List<'a, SubRequest<'a>>,
    } => BatchReply<'a> {
        /// All have the status OK.
        Ok {
            /// One a request, in their order.
            replies: List<'a, SubReply<'a>>,
        }
        /// Some have another status, or failed.
        Partial {
            /// One a request, in their order.
            replies: List<'a, SubReply<'a>>,
        }
    }
}
