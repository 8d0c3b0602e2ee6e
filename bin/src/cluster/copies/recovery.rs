//! From checkpoint and log to copies.

use std::sync::Arc;

use isogrid_engine::wal::{Log, LogConfig, WalConfig};
use isogrid_grid::copies::Copies;
use isogrid_grid::id::GroupId;
use isogrid_grid::membership::Now;

use super::{CopiesError, CopyDisk, checkpoint, place, record};

/// Records that wait to be written: twice as many bytes end the process, because what a copy got
/// from its primary cannot be refused.
const BUFFER_BYTES: usize = 64 << 20;

/// Gives copies back what is on the disk of them, and says whether the process before has settled all
/// of it. The log goes on behind that.
pub(super) fn recover(
    of: &CopyDisk,
    now: Now,
    copies: &[(GroupId, Arc<Copies>)],
) -> Result<(Log, bool), CopiesError> {
    let from = checkpoint::read(&of.disk, of.id, |bytes| restore(of, now, copies, bytes))?;
    let file_bytes = of.log_bytes / isogrid_engine::persist::LOG_FILES;
    let wal = WalConfig { from, file_bytes, ..place::config(of.id) };
    let config = LogConfig { buffer_bytes: BUFFER_BYTES, ..LogConfig::new(wal) };
    let (mut refusal, mut settled) = (None, false);
    let opened = Log::open(Arc::clone(&of.disk), &config, Arc::new(()), &mut |_, bytes| {
        settled = bytes == record::SETTLED;
        restore(of, now, copies, bytes).map_err(|why| {
            let text = why.to_string();
            refusal = Some(why);
            text
        })
    });
    match (opened, refusal) {
        (_, Some(why)) => Err(why),
        (opened, None) => Ok((opened?.0, settled)),
    }
}

fn restore(
    of: &CopyDisk,
    now: Now,
    copies: &[(GroupId, Arc<Copies>)],
    bytes: &[u8],
) -> Result<(), CopiesError> {
    if bytes == record::BEGINS || bytes == record::SETTLED {
        return Ok(());
    }
    let decoded = record::decode(bytes);
    let decoded = decoded.ok_or_else(|| of.refused("a record means nothing".to_owned()))?;
    let (group, at, kept) = decoded;
    let Some((_, copies)) = copies.iter().find(|(known, _)| *known == group) else {
        return Err(CopiesError::Unclaimed { place: of.disk.place(""), group });
    };
    copies.restore(now, at, kept).map_err(|why| of.refused(format!("{group} {at}: {why}")))
}
