//! Three instances of `web` that respond to HTTP, each held by a `skyhound provide` of its own.

use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::program;
use skyhound_test_support::wait::{SOON, try_until, wait_until};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

/// A daemon, and the instances that are registered there.
pub struct Shop {
    pub daemon: Daemon,
    /// The addresses of the instances; the last one is killed.
    pub instances: Vec<SocketAddr>,
    holders: Vec<Child>,
}

impl Shop {
    /// Starts the instances on addresses of their own and the port 8080, as tools that query addresses need it.
    pub async fn open() -> Self {
        let daemon = Daemon::start(&[]).await;
        let mut shop = Self { daemon, instances: Vec::new(), holders: Vec::new() };
        let IpAddr::V4(own) = shop.ip() else { panic!("the daemon has an IPv4 address") };
        let [_, count, high, low] = own.octets();
        for above in [100, 130, 160] {
            let ip = Ipv4Addr::new(127, count.wrapping_add(above), high, low);
            let listener = TcpListener::bind((ip, 8080)).await.expect("an address of our own");
            shop.instances.push(listener.local_addr().expect("it is bound"));
            tokio::spawn(answer(listener));
            shop.holders.push(shop.provide(ip));
        }
        wait_until(SOON, async || {
            let found = shop.daemon.dig().query("web.services.skydns.local", "SRV").await.map_err(|e| e.to_string())?;
            if found.answer.len() == 3 { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        shop
    }

    /// The address of the daemon.
    pub fn ip(&self) -> IpAddr {
        self.daemon.http.ip()
    }

    fn provide(&self, ip: Ipv4Addr) -> Child {
        Command::new(program())
            .args(["provide", "web", "--port", "8080", "--host", &ip.to_string()])
            .args(["--server", &self.daemon.http.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary was built with the tests")
    }

    /// Has `tool` find three instances, and two after the last of them was killed. `find` returns, each time that it is
    /// called, the addresses that the tool has found.
    pub async fn found_by(
        mut self,
        tool: &str,
        mut find: impl AsyncFnMut() -> Result<BTreeSet<String>, String>,
    ) -> Self {
        let all: BTreeSet<_> = self.instances.iter().map(|instance| instance.ip().to_string()).collect();
        self.sees(&all, tool, &mut find).await;
        let mut killed = self.holders.pop().expect("there are three");
        killed.kill().await.expect("it can be killed");
        let began = Instant::now();
        let mut left = all.clone();
        left.remove(&self.instances[2].ip().to_string());
        self.sees(&left, tool, &mut find).await;
        println!("{tool}: gone after {:?}", began.elapsed());
        self
    }

    /// Kills the remaining instances.
    pub async fn all_die(&mut self) {
        for holder in &mut self.holders {
            holder.kill().await.expect("it can be killed");
        }
    }

    async fn sees(
        &self,
        wanted: &BTreeSet<String>,
        tool: &str,
        find: &mut impl AsyncFnMut() -> Result<BTreeSet<String>, String>,
    ) {
        let seen = try_until(SOON, async || {
            let found = find().await?;
            if found == *wanted { Ok(()) } else { Err(format!("{found:?}")) }
        });
        if let Err(late) = seen.await {
            panic!("{tool} does not find {wanted:?}: {late}");
        }
    }
}

/// A web server that responds with its own address, and closes.
async fn answer(listener: TcpListener) {
    let own = listener.local_addr().expect("it is bound").ip().to_string();
    while let Ok((mut stream, _)) = listener.accept().await {
        let body = own.clone();
        tokio::spawn(async move {
            let mut head = [0; 4096];
            // A request is short, and comes in one piece on this machine.
            if stream.read(&mut head).await.is_ok_and(|length| length > 0) {
                let answer =
                    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
    }
}
