//! ONNX files as tests put them together: protocol buffers, written field by field.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)] // each binary uses a part of it

/// The fields of a message.
#[derive(Clone, Debug, Default)]
pub struct Message(pub Vec<u8>);

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

impl Message {
    pub fn int(mut self, field: u64, value: i64) -> Self {
        self.0.extend(varint(field << 3));
        self.0.extend(varint(value as u64));
        self
    }

    pub fn float(mut self, field: u64, value: f32) -> Self {
        self.0.extend(varint(field << 3 | 5));
        self.0.extend(value.to_le_bytes());
        self
    }

    pub fn bytes(mut self, field: u64, value: impl AsRef<[u8]>) -> Self {
        self.0.extend(varint(field << 3 | 2));
        self.0.extend(varint(value.as_ref().len() as u64));
        self.0.extend(value.as_ref());
        self
    }

    pub fn message(self, field: u64, value: &Self) -> Self {
        self.bytes(field, &value.0)
    }

    /// A field of bytes that claims another length than it has.
    pub fn lying(mut self, field: u64, claimed: u64, value: &[u8]) -> Self {
        self.0.extend(varint(field << 3 | 2));
        self.0.extend(varint(claimed));
        self.0.extend(value);
        self
    }
}

pub const FLOAT: i64 = 1;
pub const INT32: i64 = 6;
pub const INT64: i64 = 7;
pub const FLOAT16: i64 = 10;

pub fn attribute_int(name: &str, value: i64) -> Message {
    Message::default().bytes(1, name).int(3, value).int(20, 2)
}

pub fn attribute_float(name: &str, value: f32) -> Message {
    Message::default().bytes(1, name).float(2, value).int(20, 1)
}

pub fn attribute_text(name: &str, value: &str) -> Message {
    Message::default().bytes(1, name).bytes(4, value).int(20, 3)
}

pub fn attribute_ints(name: &str, values: &[i64]) -> Message {
    values.iter().fold(Message::default().bytes(1, name), |message, &value| message.int(8, value)).int(20, 7)
}

pub fn attribute_floats(name: &str, values: &[f32]) -> Message {
    values.iter().fold(Message::default().bytes(1, name), |message, &value| message.float(7, value)).int(20, 6)
}

pub fn attribute_texts(name: &str, values: &[&str]) -> Message {
    values.iter().fold(Message::default().bytes(1, name), |message, value| message.bytes(9, value)).int(20, 8)
}

pub fn attribute_tensor(name: &str, tensor: &Message) -> Message {
    Message::default().bytes(1, name).message(5, tensor).int(20, 4)
}

/// A tensor without its values.
pub fn header(name: &str, dims: &[i64], element: i64) -> Message {
    let message = dims.iter().fold(Message::default(), |message, &dim| message.int(1, dim));
    message.int(2, element).bytes(8, name)
}

/// A tensor of ramps around 0.
pub fn floats(name: &str, dims: &[i64]) -> Message {
    let count: i64 = dims.iter().product();
    let values = (0..count).flat_map(|i| (((i * 7) % 11) as f32 / 11.0 - 0.45).to_le_bytes());
    header(name, dims, FLOAT).bytes(9, values.collect::<Vec<u8>>())
}

pub fn ints(name: &str, values: &[i64]) -> Message {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    header(name, &[values.len() as i64], INT64).bytes(9, bytes)
}

pub fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: &[Message]) -> Message {
    let message = inputs.iter().fold(Message::default(), |message, name| message.bytes(1, name));
    let message = outputs.iter().fold(message, |message, name| message.bytes(2, name));
    let message = message.bytes(3, format!("the {op}")).bytes(4, op);
    attributes.iter().fold(message, |message, attribute| message.message(5, attribute))
}

/// A name with a type; sizes below 0 are open.
pub fn info(name: &str, element: i64, dims: &[i64]) -> Message {
    let dim = |&size: &i64| {
        if size < 0 { Message::default().bytes(2, format!("n{size}")) } else { Message::default().int(1, size) }
    };
    let shape = dims.iter().fold(Message::default(), |message, size| message.message(1, &dim(size)));
    let tensor = Message::default().int(1, element).message(2, &shape);
    Message::default().bytes(1, name).message(2, &Message::default().message(1, &tensor))
}

/// What goes into a file.
#[derive(Clone, Debug)]
pub struct File {
    pub nodes: Vec<Message>,
    pub tensors: Vec<Message>,
    pub inputs: Vec<Message>,
    pub outputs: Vec<Message>,
    pub opset: i64,
    /// Further fields of the graph and of the model.
    pub graph: Message,
    pub model: Message,
}

impl File {
    /// `y`, of one node whose first input is `x` `[n-1, n-2, 2]`.
    pub fn of(nodes: Vec<Message>) -> Self {
        Self {
            nodes,
            tensors: Vec::new(),
            inputs: vec![info("x", FLOAT, &[-1, -2, 2])],
            outputs: vec![info("y", FLOAT, &[-1, -2])],
            opset: 17,
            graph: Message::default(),
            model: Message::default(),
        }
    }

    /// An LSTM of 2 features and 3 units, with these attributes beside `hidden_size`.
    pub fn lstm(attributes: &[Message]) -> Self {
        let all = [&[attribute_int("hidden_size", 3)], attributes].concat();
        let file = Self::of(vec![node("LSTM", &["x", "w", "r", "b"], &["y"], &all)]);
        file.with(floats("w", &[1, 12, 2])).with(floats("r", &[1, 12, 3])).with(floats("b", &[1, 24]))
    }

    pub fn with(mut self, tensor: Message) -> Self {
        self.tensors.push(tensor);
        self
    }

    pub fn input(mut self, input: Message) -> Self {
        self.inputs.push(input);
        self
    }

    /// With another tensor in place of the one at `index`.
    pub fn replaced(mut self, index: usize, tensor: Message) -> Self {
        self.tensors[index] = tensor;
        self
    }

    pub fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let graph =
            self.nodes.iter().fold(Message::default(), |message, node| message.message(1, node)).bytes(2, "graph");
        let graph = self.tensors.iter().fold(graph, |message, tensor| message.message(5, tensor));
        let graph = self.inputs.iter().fold(graph, |message, input| message.message(11, input));
        let mut graph = self.outputs.iter().fold(graph, |message, output| message.message(12, output));
        graph.0.extend(&self.graph.0);
        let mut model = Message::default().int(1, 8).bytes(2, "test").message(7, &graph);
        model = model.message(8, &Message::default().bytes(1, "").int(2, self.opset));
        model.0.extend(&self.model.0);
        model.0
    }
}
