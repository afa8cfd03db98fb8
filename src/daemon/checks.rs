//! Connects health checks to servers in their networks.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::health::{Connecting, Probe, ask};
use crate::host::netns::Namespace;
use crate::model::Key;
use tokio::net::TcpSocket;

/// The namespace that each VNet's attachment is in.
pub(super) struct NetnsConnector(pub(super) BTreeMap<String, Namespace>);

impl Probe for NetnsConnector {
    fn reaches(&self, vnet: &Key) -> bool {
        self.0.contains_key(&vnet.to_string())
    }

    fn connect(&self, vnet: &Key, to: SocketAddr, path: Option<&str>) -> Connecting {
        let path = path.map(str::to_owned);
        let door = self.0.get(&vnet.to_string()).cloned().ok_or_else(|| format!("VNet {vnet} has no attachment here"));
        Box::pin(async move {
            let door = door?;
            // A socket belongs to the namespace in which it was made. Its use needs no thread there.
            let open = move || door.run(|| Ok(if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?));
            let made = tokio::task::spawn_blocking(open).await.map_err(|error| error.to_string())?;
            let socket = made.map_err(|error| format!("{error:#}"))?;
            let stream = socket.connect(to).await.map_err(|error| error.to_string())?;
            match path {
                Some(path) => ask(stream, to, &path).await,
                None => Ok(()),
            }
        })
    }
}
