//! The copies that a member finds on its disk when it begins.

use std::sync::Arc;

use isogrid_grid::copies::{Copies, Keeper};
use isogrid_grid::id::{GroupId, NodeId, StorageId};

use super::{Driver, Input};
use crate::cluster::copies::{CopiesError, CopyDisk, Durable, Place, folder};
use crate::cluster::storage::new_storage;

impl Driver {
    /// Makes this node's copies of all caches; those that are kept get back what the disk has of
    /// them. Which copies those are that others know of.
    pub(super) fn open_copies(
        &self,
        node: NodeId,
        is_new: bool,
    ) -> Result<Option<StorageId>, CopiesError> {
        let place = self.place(is_new)?;
        let id = place.as_ref().map(|place| place.id);
        let place = place.filter(|_| self.keeps_copies());
        let disk = place.map(|place| CopyDisk::new(&place, self.config.node.log_size));
        let copies = self.make_copies(node, disk.as_ref());
        if let Some(disk) = disk {
            self.open_disk(&disk, &copies)?;
            let _ = self.cluster.copy_disk.set(disk);
        }
        Ok(id)
    }

    fn keeps_copies(&self) -> bool {
        self.cluster.caches.iter().any(|shared| shared.first_settings().persist.is_kept())
    }

    /// Where copies are kept, if they are: what a member finds, or begins with. Copies that are not
    /// there any more are not those that others know.
    fn place(&self, is_new: bool) -> Result<Option<Place>, CopiesError> {
        let Some(data_dir) = &self.config.node.data_dir else { return Ok(None) };
        let folder = folder(data_dir);
        if let Some(place) = Place::find(&folder)? {
            let checked = if self.keeps_copies() { place.check() } else { Ok(()) };
            let why = match checked {
                Ok(()) if is_new => "they are those of a member that was".to_owned(),
                Ok(()) => return Ok(Some(place)),
                Err(error) if error.is_damage() => error.to_string(),
                Err(error) => return Err(error),
            };
            let aside = place.put_aside(self.cluster.now().wall)?;
            let aside = aside.display();
            tracing::error!(event = "copies_put_aside", why, %aside, "all are filled again");
        }
        let id = if is_new { self.opened.storage } else { new_storage() };
        self.keeps_copies().then(|| Place::begin(&folder, id)).transpose()
    }

    fn make_copies(
        &self,
        node: NodeId,
        disk: Option<&Arc<CopyDisk>>,
    ) -> Vec<(GroupId, Arc<Copies>)> {
        let mut kept = Vec::new();
        for shared in &self.cluster.caches {
            let settings = shared.first_settings();
            let keeper = disk.filter(|_| settings.persist.is_kept());
            let keeper = keeper.map(|disk| Arc::clone(disk) as Arc<dyn Keeper>);
            let (group, table) = (shared.group, Arc::clone(&shared.table));
            let is_kept = keeper.is_some();
            let copies = Copies::new(node, group, &settings, table, keeper);
            let _ = shared.copies.set(Arc::clone(&copies));
            if is_kept {
                kept.push((group, copies));
            }
        }
        kept
    }

    fn open_disk(
        &self,
        disk: &Arc<CopyDisk>,
        copies: &[(GroupId, Arc<Copies>)],
    ) -> Result<(), CopiesError> {
        let (cluster, inputs) = (Arc::downgrade(&self.cluster), self.cluster.inputs.clone());
        let tell = move |durable: Durable| {
            let Some(cluster) = cluster.upgrade() else { return };
            let (now, mut out) = (cluster.now(), Vec::new());
            for ((group, at), count) in durable {
                let shared = cluster.caches.iter().find(|shared| shared.group == group);
                let copies = shared.and_then(|shared| shared.copies());
                copies.into_iter().for_each(|copies| copies.durable(now, at, count, &mut out));
            }
            cluster.carry_out(out);
        };
        let failed = move |why| drop(inputs.send(Input::CopiesFailed(why)));
        disk.open(self.cluster.now(), copies, tell, failed)
    }
}
