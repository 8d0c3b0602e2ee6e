//! Every error: number, name, retry class, reason, and what to do. Numbers are never used again.

use super::{ErrorInfo, Retry};

macro_rules! catalogue {
    ($( $number:literal $code:ident $name:literal $retry:ident $reason:literal $help:literal; )+) => {
        /// Why a request failed, or a connection ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum ErrorCode {
            $( #[doc = concat!("`", $name, "`: ", $reason, ".")] $code = $number, )+
        }

        impl ErrorCode {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$code),+];

            /// The one of this number.
            #[must_use]
            pub fn of(number: u16) -> Option<Self> {
                match number {
                    $( $number => Some(ErrorCode::$code), )+
                    _ => None,
                }
            }

            /// What there is to know of it.
            #[must_use]
            pub fn info(self) -> ErrorInfo {
                let (name, retry, reason, help) = match self {
                    $( ErrorCode::$code => ($name, Retry::$retry, $reason, $help), )+
                };
                ErrorInfo { code: self, name, retry, reason, help }
            }
        }
    };
}

catalogue! {
    1001 ProtocolError "PROTOCOL_ERROR" Never
        "the bytes break the rules of the protocol"
        "The connection is closed: nothing behind the bad frame can be understood. Compare what the client sends with docs/PROTOCOL.md, or decode a capture with the vectors beside it; a proxy that rewrites bytes does this too.";
    1002 UnsupportedVersion "UNSUPPORTED_VERSION" Never
        "the two sides have no version of the protocol in common"
        "Update the older side. The server's preface says which versions it speaks.";
    1003 UnsupportedOp "UNSUPPORTED_OP" Never
        "the server does not have this operation"
        "The `ops` of WELCOME say how far each group goes. Update the server, or do without the operation.";
    1004 UnsupportedExt "UNSUPPORTED_EXT" Never
        "the request has a critical extension that the server does not know"
        "The request was not executed, because its meaning depends on the extension. Update the server, or send the request without it if that is meant.";
    1005 FrameTooLarge "FRAME_TOO_LARGE" Never
        "a frame or a message is larger than the limit"
        "Send smaller values or fewer keys at once. `limits` in WELCOME has max_frame and max_message in bytes; before authentication a frame has at most 16 KiB.";
    1006 BadEncoding "BAD_ENCODING" Never
        "the body of the request is not what the operation takes"
        "The client has a fault, or speaks of an operation of another release. The message says what is wrong; docs/OPERATIONS.md has the fields of each operation.";
    1007 StreamInUse "STREAM_IN_USE" Never
        "the stream already carries a request that is not answered"
        "The client has a fault: a stream id may be used again only after its terminal frame (RES or ERR).";
    1008 TooManyStreams "TOO_MANY_STREAMS" Same
        "the connection has as many open streams as it may"
        "Wait for answers, or cancel streams that nobody reads. `limits.max_streams` in WELCOME has the number.";
    1009 HandshakeTimeout "HANDSHAKE_TIMEOUT" Never
        "the client did not finish its handshake in time"
        "Preface and HELLO have `limits.handshake_timeout`, 10 seconds. Look for a client that connects and says nothing, and for a slow network.";
    1010 Idle "IDLE" Never
        "nothing came over the connection for too long"
        "Send PING when there is nothing else to send: WELCOME says after how many milliseconds of silence.";
    1011 GoingAway "GOING_AWAY" Other
        "the server closes this connection"
        "Open another connection, to one of the alternatives that GOAWAY named, and send the request there.";

    2001 AuthRequired "AUTH_REQUIRED" Never
        "the request came before the client proved who it is"
        "Send HELLO with `auth` first and wait for the state `ok` in WELCOME or AUTH. Give the client a user and a password, a token or a certificate.";
    2002 AuthFailed "AUTH_FAILED" Never
        "the credentials are wrong"
        "Check user and secret. After three failures the connection is closed, and this address has to wait before it may try again.";
    2003 Forbidden "FORBIDDEN" Never
        "this user may not do that"
        "An administrator can give the user a role that has the permission; the details name the permission and the object.";
    2004 WrongCluster "WRONG_CLUSTER" Never
        "the client asked for another cluster than this one"
        "Correct the address or the cluster name in the client's configuration. The details have the name of this cluster.";
    2005 TlsRequired "TLS_REQUIRED" Never
        "the server takes this only over TLS"
        "Connect with TLS: this way of authentication would show the password to the network.";
    2006 MechUnsupported "MECH_UNSUPPORTED" Never
        "the server does not have this way of authentication"
        "The details list the ways that it has.";

    3001 InvalidArgument "INVALID_ARGUMENT" Never
        "a value of the request is not allowed"
        "The message names the field and what it may be.";
    3002 NoSuchObject "NO_SUCH_OBJECT" Never
        "there is no object of this number or name"
        "It was dropped, or never made. Resolve its name again once; the command `cache list` shows what there is, `cache create` makes one.";
    3003 WrongType "WRONG_TYPE" Never
        "the object or the entry is of another kind than the operation works on"
        "Check the name: a cache operation needs a cache, a lock operation a lock space, and a map operation an entry that is a map.";
    3004 ObjectExists "OBJECT_EXISTS" Never
        "an object of this name exists with other options"
        "The details list each option that differs, as it is and as it was asked for. Use the options that it has, alter it, or choose another name.";
    3005 KeyTooLarge "KEY_TOO_LARGE" Never
        "the key is longer than the limit"
        "Shorten the key, for example by hashing its long part. `limits.max_key` in WELCOME has the bytes.";
    3006 ValueTooLarge "VALUE_TOO_LARGE" Never
        "the value is larger than the limit"
        "Compress the value or cut it into parts. `limits.max_value` in WELCOME has the bytes; an operator can raise `limits.max_item_size`.";
    3007 NotANumber "NOT_A_NUMBER" Never
        "the entry does not hold a decimal number"
        "Store the number as decimal text, without spaces, before counting with it, or count with a counter.";
    3008 OutOfRange "OUT_OF_RANGE" Never
        "the result or an argument is outside of what is allowed"
        "The details have the bound. For a stream: the credit came to more than 4294967295 items.";
    3009 UnknownFunction "UNKNOWN_FUNCTION" Never
        "the server does not have this function"
        "Check its name; the functions are built into the server and listed in docs/PROTOCOL.md.";
    3010 ReadOnly "READ_ONLY" Never
        "the object takes no writes"
        "It is read-only by configuration or while it is being moved out; the details say which.";
    3011 QuotaExceeded "QUOTA_EXCEEDED" Never
        "a quota is used up"
        "The details name the quota, its limit and what is used. Remove what is not needed, or have an administrator raise it.";

    4001 NotOwner "NOT_OWNER" Other
        "this member does not own the key's segment"
        "Fetch the topology and send the request to the owner, which the details name. Clients do this by themselves; often seen, it means that the cluster moves segments.";
    4002 SegmentUnavailable "SEGMENT_UNAVAILABLE" Same
        "no member can serve the key's segment now"
        "Its owners are down or not reachable. It comes back with one of them; the command `cluster members` shows who is missing.";
    4003 NoQuorum "NO_QUORUM" Other
        "this side of the cluster has no majority"
        "The member cannot reach enough others to be sure that it may answer. Try another member; check the network between them and that more than half of the voters run.";
    4004 Moving "MOVING" Same
        "the key's segment is being handed over to another member"
        "Wait for `retry_after_ms` and send the request again; a hand-over takes well under a second.";
    4005 Overloaded "OVERLOADED" Same
        "the server has more requests than it can hold"
        "Wait for `retry_after_ms`, and more with each failure. If it lasts, add members or send less at once.";
    4006 OutOfMemory "OUT_OF_MEMORY" Same
        "there is no room for the entry and nothing may be evicted"
        "Raise the cache's limit, let entries expire, or choose an eviction policy other than `none`.";
    4007 ShuttingDown "SHUTTING_DOWN" Other
        "the member is being stopped"
        "Send the request to another member.";
    4008 NotReady "NOT_READY" Other
        "the member has not finished its start"
        "Try another member, or wait: /health/ready turns 200 when it serves.";

    5001 DeadlineExceeded "DEADLINE_EXCEEDED" Same
        "the time for the request was over before it was executed"
        "It was not executed. Give it more time (`timeout_ms`), or look for what holds requests up.";
    5002 OutcomeUnknown "OUTCOME_UNKNOWN" Unknown
        "nobody knows whether the request was executed"
        "Read before you write again, or repeat the request with the same `idem` number: then it is executed once.";
    5003 Cancelled "CANCELLED" Unknown
        "the client cancelled the request"
        "It may have been executed before the CANCEL came. For a stream: this is its end.";
    5004 AcksMissing "ACKS_MISSING" Unknown
        "the write was applied, but fewer copies than asked for confirmed it in time"
        "It is in force at the owner. Check the members that hold the copies; repeat it only if doing it twice is harmless.";

    6001 TxConflict "TX_CONFLICT" Same
        "another transaction changed what this one has read or written"
        "Nothing of it was applied. Begin again from the reads.";
    6002 TxNotFound "TX_NOT_FOUND" Never
        "there is no transaction of this number"
        "It ended, or this connection did not begin it. Ask tx.STATUS how it ended.";
    6003 TxTimedOut "TX_TIMED_OUT" Never
        "the transaction was idle for too long and was rolled back"
        "Do less between its operations, or give tx.BEGIN a longer `idle_ms`.";
    6004 LeaseExpired "LEASE_EXPIRED" Never
        "the lease has ended, and all that hung on it"
        "Send lease.KEEPALIVE more often than the lease's time, from a thread that does not wait for anything else. Grant a new lease and take the locks anew.";
    6005 NotHolder "NOT_HOLDER" Never
        "the caller does not hold this lock"
        "It was released, or its lease ended and somebody else may have it. Stop the work that it guarded.";
    6006 Fenced "FENCED" Never
        "somebody else got the lock after the caller: the fencing token is too old"
        "The request was not executed, as it should be. Stop the work that the lock guarded.";
    6007 StaleReceipt "STALE_RECEIPT" Never
        "the message was delivered again to somebody else"
        "The acknowledgement came too late. Make the consumer faster, or extend the time for it.";
    6008 SessionGone "SESSION_GONE" Never
        "the session was destroyed, renewed or has expired"
        "The details say which. Begin a new session; a save never brings one back.";
    6009 RunNotYours "RUN_NOT_YOURS" Never
        "the run of the job was given to another worker"
        "Stop it: heartbeats came too late, and another worker has begun anew.";

    9001 Internal "INTERNAL" Unknown
        "the server has a fault"
        "The details have an incident number that is in the server's log too; please report both.";
    9002 Corrupt "CORRUPT" Other
        "stored data is damaged"
        "The damaged part is not served. The command `log verify` says what is damaged; another member may have a good copy.";
    9003 Storage "STORAGE" Same
        "the disk refused a write or a read"
        "Look at the server's log and for a full or failing disk. Writes are taken again as soon as the disk takes them.";
}
