//! What a crash leaves behind. Memory holds passwords and whatever caches hold, so where there are
//! users or data that is kept nothing is written of it, and no process of the same user may attach to
//! this one (prctl(2), PR_SET_DUMPABLE).

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

use crate::config::ServerConfig;
use crate::security::Mode;

/// Turns core dumps off, unless the configuration allows them or there is nothing to hide.
pub fn restrict(config: &ServerConfig) {
    let hides = config.auth.mode == Mode::On || config.keeps();
    if config.node.core_dumps || !hides {
        return;
    }
    let limit = Rlimit { current: Some(0), maximum: getrlimit(Resource::Core).maximum };
    let done = setrlimit(Resource::Core, limit)
        .and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if let Err(why) = done {
        tracing::warn!(event = "core_dumps", %why, "a crash may leave an image of the memory");
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn who_hides_something_is_not_dumped() {
        let mut config = ServerConfig::default();
        config.node.data_dir = None;
        config.auth.mode = Mode::On;
        config.node.core_dumps = true;
        restrict(&config);
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::Dumpable);
        config.node.core_dumps = false;
        restrict(&config);
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
