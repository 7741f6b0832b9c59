//! The frames of the handshake: one Hello, one answer, nothing read beyond them.

use ekka_core::id::NodeName;
use ekka_core::wire::{
    FrameDecoder, FrameKind, Hello, HelloReply, Purpose, Refusal, RefusalReason, VersionRange, encode_frame,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::failure::Failure;
use super::secure::{Secured, Trust};
use super::tls::certifies;
use crate::env::BoxStream;

/// A secured stream on which the Hellos are said.
pub(super) struct Greeting {
    secured: Secured,
    unchecked: bool,
}

impl Greeting {
    pub(super) fn new(secured: Secured, unchecked: bool) -> Self {
        Self { secured, unchecked }
    }

    pub(super) fn trust(&self) -> Trust {
        self.secured.trust
    }

    /// The stream, from the first byte after the handshake on.
    pub(super) fn into_stream(self) -> BoxStream {
        self.secured.stream
    }

    pub(super) async fn send_hello(&mut self, hello: &Hello) -> Result<(), Failure> {
        self.send(FrameKind::Hello, hello.encode()).await
    }

    pub(super) async fn send_reply(&mut self, reply: &HelloReply) -> Result<(), Failure> {
        self.send(FrameKind::HelloReply, reply.encode()).await
    }

    /// Reads the Hello of the dialling side and judges what needs no knowledge of the cluster.
    pub(super) async fn receive_hello(&mut self, ours: &Hello) -> Result<Hello, Failure> {
        let body = self.receive(&[FrameKind::Hello]).await?;
        let hello = decode(&body, ours, Hello::decode)?;
        self.judge(ours, &hello)?;
        Ok(hello)
    }

    /// Reads the answer of the accepting side and judges it the same way.
    pub(super) async fn receive_reply(&mut self, ours: &Hello) -> Result<Hello, Failure> {
        let body = self.receive(&[FrameKind::HelloReply]).await?;
        match decode(&body, ours, HelloReply::decode)? {
            HelloReply::Refused(refusal) => Err(Failure::RefusedByPeer(refusal)),
            HelloReply::Welcome(hello) => {
                self.judge(ours, &hello)?;
                Ok(hello)
            }
        }
    }

    fn judge(&self, ours: &Hello, theirs: &Hello) -> Result<(), Failure> {
        judge_versions(ours, theirs.versions)?;
        if let Some(certificate) = &self.secured.certificate
            && let Err(problem) = certifies(certificate, &theirs.name)
        {
            return refuse(RefusalReason::Name, format!("{} is not certified: {problem}", theirs.name));
        }
        judge_names(ours, theirs)
    }

    async fn send(&mut self, kind: FrameKind, body: Vec<u8>) -> Result<(), Failure> {
        let body = self.secured.seal.close(body);
        let mut bytes = Vec::new();
        encode_frame(kind, &body, &mut bytes)?;
        self.secured.stream.write_all(&bytes).await?;
        self.secured.stream.flush().await?;
        Ok(())
    }

    async fn receive(&mut self, allowed: &'static [FrameKind]) -> Result<Vec<u8>, Failure> {
        let stream = &mut self.secured.stream;
        let mut decoder = FrameDecoder::new(allowed);
        let mut head = [0u8; 4];
        stream.read_exact(&mut head).await?;
        decoder.push(&head);
        if !self.unchecked {
            // Judges the length before anything is read or kept for it.
            decoder.next_frame()?;
        }
        let length = u64::from(u32::from_be_bytes(head));
        let mut rest = Vec::new();
        if stream.take(length).read_to_end(&mut rest).await? as u64 != length {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        decoder.push(&rest);
        let (_, body) = decoder.next_frame()?.ok_or_else(|| Failure::Garbage("an unfinished frame".to_owned()))?;
        self.secured.seal.open(body)
    }
}

/// A text that cannot be read may be of a version that this code does not know: that is said first.
fn decode<T>(
    body: &[u8],
    ours: &Hello,
    decode: impl FnOnce(&[u8]) -> Result<T, ekka_core::wire::HelloError>,
) -> Result<T, Failure> {
    decode(body).or_else(|error| {
        if let Ok(theirs) = Hello::decode_versions(body) {
            judge_versions(ours, theirs)?;
        }
        Err(error.into())
    })
}

fn refuse<T>(reason: RefusalReason, text: String) -> Result<T, Failure> {
    Err(Failure::Refuse(Refusal::new(reason, text)))
}

fn judge_versions(ours: &Hello, theirs: VersionRange) -> Result<(), Failure> {
    let (name, ours) = (&ours.name, ours.versions);
    if ours.common(theirs).is_some() {
        return Ok(());
    }
    let text = format!(
        "no common protocol version: {name} speaks {} to {}, the other side {} to {}; \
         upgrade the older one step by step",
        ours.min, ours.max, theirs.min, theirs.max
    );
    refuse(RefusalReason::Version, text)
}

fn judge_names(ours: &Hello, theirs: &Hello) -> Result<(), Failure> {
    if ours.cluster_name != theirs.cluster_name {
        let text = format!(
            "cluster.name differs: {} is of {:?}, {} of {:?}",
            ours.name, ours.cluster_name, theirs.name, theirs.cluster_name
        );
        return refuse(RefusalReason::Name, text);
    }
    // A look changes nothing, so it may come from anywhere.
    let looks = ours.purpose == Purpose::Observer || theirs.purpose == Purpose::Observer;
    let on_loopback = |name: &NodeName| name.host().is_loopback();
    if !looks && on_loopback(&ours.name) != on_loopback(&theirs.name) {
        let (inside, outside) =
            if on_loopback(&ours.name) { (&ours.name, &theirs.name) } else { (&theirs.name, &ours.name) };
        let text = format!(
            "{inside} is a name on loopback, {outside} is not: other hosts would not reach it; \
             give it a node.name with an address that they can reach"
        );
        return refuse(RefusalReason::Loopback, text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ekka_core::limits::HELLO_FRAME_MAX;
    use tokio::io::DuplexStream;

    use super::super::challenge::Seal;
    use super::*;

    fn greeting(unchecked: bool) -> (Greeting, DuplexStream) {
        let (near, far) = tokio::io::duplex(1 << 20);
        let secured = Secured { stream: Box::new(near), seal: Seal::Plain, trust: Trust::none(), certificate: None };
        (Greeting::new(secured, unchecked), far)
    }

    async fn answer_to(bytes: &[u8], unchecked: bool) -> Failure {
        let (mut greeting, mut far) = greeting(unchecked);
        far.write_all(bytes).await.unwrap();
        far.shutdown().await.unwrap();
        greeting.receive(&[FrameKind::Hello]).await.expect_err("it is no hello")
    }

    #[tokio::test]
    async fn a_huge_length_is_refused_before_its_body_is_read() {
        let (mut greeting, mut far) = greeting(false);
        far.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        // The body never comes and the stream stays open: only the length can have been judged.
        assert!(matches!(greeting.receive(&[FrameKind::Hello]).await, Err(Failure::TooLarge(_))));
    }

    #[tokio::test]
    async fn garbage_after_the_securing_is_told_from_a_broken_connection() {
        assert!(matches!(answer_to(&[0, 0, 0, 0], false).await, Failure::Garbage(_)));
        assert!(matches!(answer_to(&[0, 0, 0, 2, 99, 0], false).await, Failure::Garbage(_)));
        assert!(matches!(answer_to(&[0, 0, 0, 2, FrameKind::Control as u8, 0], false).await, Failure::Garbage(_)));
        assert!(matches!(answer_to(&[0, 0, 0, 9, 1], false).await, Failure::Broken(_)));
        assert!(matches!(answer_to(b"", false).await, Failure::Broken(_)));
    }

    #[tokio::test]
    async fn the_planted_fault_reads_what_the_limit_forbids() {
        let length = u32::try_from(HELLO_FRAME_MAX + 1).unwrap();
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.resize(4 + HELLO_FRAME_MAX, 1);
        let Failure::Broken(_) = answer_to(&bytes, true).await else { panic!("the body was not read") };
        let Failure::TooLarge(_) = answer_to(&bytes, false).await else { panic!("the limit was not checked") };
    }
}
