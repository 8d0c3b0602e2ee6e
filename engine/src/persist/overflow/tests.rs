//! Tables that hold more than memory has room for, on a disk and a store in memory: nothing that was
//! acknowledged is lost, and nothing comes back.

mod bed;
mod come_and_go;
mod crowd;
mod loads;
mod model;
mod save;
mod unread;
