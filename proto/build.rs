//! Generates the wire types with a pure-Rust protoc, so that nobody needs `protoc` installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["ksync/radar.proto", "ksync/watch.proto", "cri.proto"];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure()
        .bytes(".ksync.radar.v1.Bytes")
        .bytes(".ksync.radar.v1.SeedRequest.data")
        .bytes(".ksync.radar.v1.FetchReply.data")
        .bytes(".ksync.radar.v1.StageRequest.data")
        .bytes(".ksync.radar.v1.ReadReply.data")
        .compile_fds(descriptors)?;
    Ok(())
}
