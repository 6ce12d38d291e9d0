//! Which nodes' devices the folder is shared with.
//!
//! Invariant: a device is in it exactly while somebody holds a share for it.

use std::{collections::BTreeMap, net::SocketAddr};

use syncthing::Device;
use tokio::sync::watch;

/// The shares, by device id.
#[derive(Default)]
pub(super) struct Shares(BTreeMap<String, Shared>);

struct Shared {
    /// Where the device is dialled.
    address: watch::Receiver<SocketAddr>,
    /// How many share with it.
    holders: usize,
}

impl Shares {
    /// One more shares with `device`, which is dialled at `address`. Returns whether that is news for syncthing.
    pub(super) fn add(&mut self, device: String, address: watch::Receiver<SocketAddr>) -> bool {
        let new = || Shared { address: address.clone(), holders: 0 };
        let shared = self.0.entry(device).or_insert_with(new);
        shared.holders += 1;
        let news = shared.holders == 1 || !shared.address.same_channel(&address);
        shared.address = address;
        news
    }

    /// One less shares with `device`. Returns whether it was the last one.
    pub(super) fn remove(&mut self, device: &str) -> bool {
        let Some(shared) = self.0.get_mut(device) else { return false };
        shared.holders -= 1;
        let last = shared.holders == 0;
        if last {
            self.0.remove(device);
        }
        last
    }

    /// The ids of all devices.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// All devices, as they are dialled now.
    pub(super) fn devices(&self) -> impl Iterator<Item = Device> {
        self.0.iter().map(|(id, shared)| shared.device(id))
    }

    /// One device, as it is dialled now.
    pub(super) fn device(&self, id: &str) -> Option<Device> {
        self.0.get(id).map(|shared| shared.device(id))
    }
}

impl Shared {
    fn device(&self, id: &str) -> Device {
        Device::new(id, "node", Some(format!("tcp://{}", *self.address.borrow())))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::sync::watch;

    use super::Shares;

    #[test]
    fn a_device_stays_until_its_last_holder_goes_and_a_new_address_is_news() {
        let address = |port: u16| watch::channel(SocketAddr::from(([127, 0, 0, 1], port))).1;
        let (mut shares, first) = (Shares::default(), address(1));
        assert!(shares.add("d".into(), first.clone()), "the first");
        assert!(!shares.add("d".into(), first));
        assert!(shares.add("d".into(), address(2)), "dialled elsewhere");
        assert_eq!(shares.device("d").unwrap().addresses, ["tcp://127.0.0.1:2"]);
        assert_eq!([shares.remove("d"), shares.remove("d"), shares.remove("d")], [false, false, true]);
        assert!(!shares.remove("d") && shares.ids().next().is_none());
    }
}
