//! TEMPORARY: drives a radar through a port-forward.
#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr
)]
use ksync_proto::radar::{radar_client::RadarClient, session_event::Event, *};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use syncthing::{Client, Device, Folder, home};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_stream::StreamExt;
use tonic::transport::Channel;

async fn bep(listener: tokio::net::TcpListener, radar: RadarClient<Channel>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut radar = radar.clone();
        tokio::spawn(async move {
            let (mut read, mut write) = stream.into_split();
            let (tx, rx) = tokio::sync::mpsc::channel::<Bytes>(8);
            tokio::spawn(async move {
                let mut buffer = vec![0; 32768];
                loop {
                    match read.read(&mut buffer).await {
                        Ok(0) | Err(_) => return,
                        Ok(n) => {
                            if tx.send(Bytes { data: buffer[..n].to_vec().into() }).await.is_err() {
                                return;
                            }
                        }
                    }
                }
            });
            let mut answer = match radar.bep(tokio_stream::wrappers::ReceiverStream::new(rx)).await {
                Ok(a) => a.into_inner(),
                Err(e) => return eprintln!("bep: {e}"),
            };
            while let Ok(Some(bytes)) = answer.message().await {
                if write.write_all(&bytes.data).await.is_err() {
                    return;
                }
            }
        });
    }
}

#[tokio::main]
async fn main() {
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let args: Vec<String> = std::env::args().collect();
    let (port, syncthing_bin, dir, path) =
        (&args[1], PathBuf::from(&args[2]), PathBuf::from(&args[3]), &args[4]);
    let containers: Vec<&String> = args[5..].iter().collect();
    let channel = Channel::from_shared(format!("http://127.0.0.1:{port}")).unwrap().connect().await.unwrap();
    let mut radar = RadarClient::new(channel);
    println!("{:?}", radar.version(VersionRequest {}).await.unwrap().into_inner());
    // local syncthing
    let work = PathBuf::from(format!("/tmp/drive-{}", std::process::id()));
    std::fs::create_dir_all(&work).unwrap();
    let home = home::Home::prepare(
        &work.join("home"),
        &work.join("s"),
        &syncthing_bin,
        &home::Options { listen: None },
    )
    .unwrap();
    let mut child = syncthing::launch::command(&syncthing_bin, &home.dir)
        .stdout(std::fs::File::create(work.join("log")).unwrap())
        .spawn()
        .unwrap();
    let local = Client::unix(&home.socket, &home.key).unwrap();
    let me = loop {
        if let Ok(id) = local.my_id().await {
            break id;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let session = format!("s-{}", std::process::id());
    let (tx, rx) = tokio::sync::mpsc::channel(4);
    tx.send(SessionRequest {
        session_id: session.clone(),
        epoch: 1,
        machine: "m".into(),
        user: "u".into(),
        version: "0".into(),
        device_id: me.clone(),
        ..Default::default()
    })
    .await
    .unwrap();
    let mut events =
        radar.session(tokio_stream::wrappers::ReceiverStream::new(rx)).await.unwrap().into_inner();
    let Some(Event::Ready(ready)) = events.message().await.unwrap().unwrap().event else { panic!() };
    println!("ready {ready:?}");
    tokio::spawn(async move {
        while let Some(e) = events.next().await {
            println!("  EVENT {:?}", e.map(|e| e.event));
        }
        println!("  session stream over");
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(bep(listener, radar.clone()));
    local.put_device(&Device::new(&ready.device_id, "node", Some(address))).await.unwrap();
    let folder = format!("f-{}", std::process::id());
    let mut attachments = Vec::new();
    for id in &containers {
        let t = Instant::now();
        let a = radar
            .attach(AttachRequest {
                session_id: session.clone(),
                folder_id: folder.clone(),
                container: Some(Container { id: id.to_string(), ..Default::default() }),
                path: path.clone(),
                take_over: false,
            })
            .await;
        match a {
            Ok(a) => {
                println!("attached in {:?}: {:?}", t.elapsed(), a.get_ref());
                attachments.push(a.into_inner().attachment_id);
            }
            Err(e) => println!("attach {id}: {:?} {}", e.code(), e.message()),
        }
        println!(
            "base path: {:?}",
            radar
                .base_path(BasePathRequest {
                    container: Some(Container { id: id.to_string(), ..Default::default() })
                })
                .await
                .map(|r| r.into_inner().path)
        );
    }
    if std::env::var("ONLY_ATTACH").is_ok() {
        child.kill().unwrap();
        return;
    }
    for a in &attachments {
        let mut list = radar
            .list(ListRequest {
                session_id: session.clone(),
                attachment_id: a.clone(),
                hash: true,
                ignore: vec![],
            })
            .await
            .unwrap()
            .into_inner();
        while let Some(l) = list.message().await.unwrap() {
            println!("{a}: {:?}", l.entries.iter().map(|e| (&e.path, e.size, e.mode)).collect::<Vec<_>>());
        }
    }
    for a in &attachments {
        let t = Instant::now();
        let j = radar.join(JoinRequest { session_id: session.clone(), attachment_id: a.clone() }).await;
        println!("join {a} in {:?}: {j:?}", t.elapsed());
    }
    let t = Instant::now();
    let mut f = Folder::local(&folder, &dir.to_string_lossy()).shared_with([ready.device_id.as_str()]);
    f.paused = false;
    local.put_folder(&f).await.unwrap();
    loop {
        let now = local.folder_status(&folder).await.unwrap();
        if now.state == "idle" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let sequence = local.folder_status(&folder).await.unwrap().sequence;
    let settle = SettleRequest { session_id: session.clone(), folder_id: folder.clone(), sequence };
    println!("settle({sequence}): {:?} after {:?}", radar.settle(settle).await, t.elapsed());
    println!(
        "proof: {:?}",
        radar
            .proof(ProofRequest { session_id: session.clone(), folder_id: folder.clone() })
            .await
            .map(|r| r.into_inner())
    );
    println!(
        "two way: {:?}",
        radar
            .set_direction(SetDirectionRequest {
                session_id: session.clone(),
                folder_id: folder.clone(),
                two_way: true
            })
            .await
            .map(|r| r.into_inner())
    );
    let mut times = Vec::new();
    for n in 0..20 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        std::fs::write(dir.join("edit.txt"), format!("edit {n}\n")).unwrap();
        let t = Instant::now();
        local.scan(&folder, &["edit.txt".into()]).await.unwrap();
        let sequence = local.folder_status(&folder).await.unwrap().sequence;
        let s = radar
            .settle(SettleRequest { session_id: session.clone(), folder_id: folder.clone(), sequence })
            .await
            .unwrap()
            .into_inner();
        times.push((t.elapsed(), s.settled));
    }
    println!("edits: {times:?}");
    println!("now change things in the container; ^C to end. dir {}", dir.display());
    tokio::signal::ctrl_c().await.unwrap();
    for a in attachments.iter().rev() {
        let t = Instant::now();
        println!(
            "detach: {:?} {:?}",
            radar
                .detach(DetachRequest { session_id: session.clone(), attachment_id: a.clone() })
                .await
                .map(|_| ()),
            t.elapsed()
        );
    }
    drop(tx);
    child.kill().unwrap();
}
