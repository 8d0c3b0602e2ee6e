//! Who a connection speaks for, and the one question that is asked before each request.

use isogrid_grid::catalog::Object;
use isogrid_wire::native::schema::Permission;

/// Who a connection speaks for. This server has no accounts yet, so that everybody is anonymous.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// The name that `WELCOME` tells the client.
    pub user: Option<String>,
}

impl Identity {
    /// Whether it may do what takes this permission, to an object or to the node: the place where
    /// roles are asked. Of [`Permission::Inner`] each request inside is asked again.
    pub fn may(&self, _permission: Permission, _object: Option<&Object>) -> bool {
        true
    }
}

/// All that [`Identity::may`] permits with an object, as `catalog.RESOLVE` tells it.
pub fn permissions(identity: &Identity, object: &Object) -> u32 {
    let bits = [
        (Permission::Read, 1),
        (Permission::Write, 2),
        (Permission::Create, 4),
        (Permission::Admin, 8),
        (Permission::Listen, 16),
    ];
    let may = |(permission, _): &&(Permission, u32)| identity.may(*permission, Some(object));
    bits.iter().filter(may).map(|(_, bit)| bit).sum()
}
