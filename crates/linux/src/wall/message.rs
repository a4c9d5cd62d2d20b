//! Building netlink messages (netlink(7)): a header, fixed fields, and attributes that may hold attributes.

/// What every message begins with: length, type, flags, sequence number, port.
const HEADER: usize = 16;
/// What every attribute begins with: length and type.
const ATTRIBUTE: usize = 4;
/// Marks an attribute that holds attributes (`NLA_F_NESTED`).
const NESTED: u16 = 1 << 15;

/// Bytes of one or more messages.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    bytes: Vec<u8>,
    sequence: u32,
}

impl Messages {
    /// Adds a message of this type: its fixed fields, then the attributes that `fill` adds.
    pub(crate) fn add(
        &mut self,
        (kind, flags): (u16, u16),
        fixed: &[u8],
        fill: impl FnOnce(&mut Attributes),
    ) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        debug_assert_eq!(self.bytes.len() - start, HEADER);
        self.bytes.extend(fixed);
        self.sequence += 1;
        let mut attributes = Attributes(std::mem::take(&mut self.bytes));
        fill(&mut attributes);
        self.bytes = attributes.0;
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// All of them.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Attributes of one message, in order.
#[derive(Debug)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    /// One of raw bytes.
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.part(kind, |this| this.0.extend(value))
    }

    /// One of text, with its final zero.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.part(kind, |this| {
            this.0.extend(value.as_bytes());
            this.0.push(0);
        })
    }

    /// A number in network order, as netfilter wants it.
    pub(crate) fn be32(&mut self, kind: u16, value: i32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Bytes without a type of their own: the fixed fields that some attributes begin with.
    pub(crate) fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.0.extend(value);
        self
    }

    /// One that holds others.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.part(kind | NESTED, fill)
    }

    fn part(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend(kind.to_ne_bytes());
        fill(self);
        debug_assert!(self.0.len() >= start + ATTRIBUTE);
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
}
