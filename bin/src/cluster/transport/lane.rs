//! What a connection between two processes is for.

/// Which of the connections between two processes something goes over. Each lane has a connection,
/// a queue and credit of its own, so none can hold up another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Raft, leases, founding.
    Control,
    /// Copies of segments.
    Data,
    /// Operations of clients that are passed on, and their answers.
    Requests,
}

impl Lane {
    /// Every lane, in the order of their numbers.
    pub const ALL: [Lane; 3] = [Lane::Control, Lane::Data, Lane::Requests];

    /// Its number in a handshake. Numbers are never given anew.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Lane::Control => 1,
            Lane::Data => 2,
            Lane::Requests => 3,
        }
    }

    /// The lane of a number.
    #[must_use]
    pub fn of_code(code: u8) -> Option<Lane> {
        Lane::ALL.into_iter().find(|lane| lane.code() == code)
    }

    /// Its name in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Lane::Control => "control",
            Lane::Data => "data",
            Lane::Requests => "requests",
        }
    }

    /// The one of three things that is this lane's.
    pub(super) fn of<T>(self, [control, data, requests]: &[T; 3]) -> &T {
        match self {
            Lane::Control => control,
            Lane::Data => data,
            Lane::Requests => requests,
        }
    }
}
