//! Damaged and hostile ONNX files. All cases come from seeds; a failure names its own.
#![cfg(feature = "onnx")]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "common/counting.rs"]
mod counting;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/npz.rs"]
mod npz;
#[path = "common/onnx_files.rs"]
mod onnx_files;
#[path = "common/onnx_write.rs"]
mod onnx_write;

use std::fs;

use hostile::{MIB, Rng, damaged, rounds, survives};
use onnx_files::{cases, path};
use onnx_write::{
    FLOAT, FLOAT16, File, INT64, Message, attribute_float, attribute_floats, attribute_int, attribute_ints,
    attribute_tensor, attribute_text, attribute_texts, floats, header, info, ints, node,
};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

#[test]
fn golden_files_stay_within_the_bound() {
    for case in cases("") {
        let name = case["name"].as_str().unwrap();
        survives(&fs::read(path(name)).unwrap(), 0, &|| name.to_owned());
    }
}

#[test]
fn truncated_at_every_byte() {
    let mut small = vec![File::lstm(&[]).bytes()];
    small.extend(
        ["torch_classifier_state", "tf_gru", "pairwise_003_gru"]
            .into_iter()
            .filter_map(|name| fs::read(path(name)).ok()),
    );
    for (index, bytes) in small.iter().enumerate() {
        assert!(survives(bytes, 0, &|| format!("file {index}")));
        for cut in 0..bytes.len() {
            let loaded = survives(&bytes[..cut], 0, &|| format!("file {index} cut at {cut}"));
            // Behind the graph there is the list of operator sets, and what may be left out.
            assert!(!loaded || cut + 64 > bytes.len(), "file {index} cut at {cut}");
        }
    }
}

#[test]
fn bit_flips() {
    let mut rng = Rng(11);
    let mut files: Vec<(String, Vec<u8>)> = vec![("lstm".to_owned(), File::lstm(&[]).bytes())];
    for case in cases("") {
        let name = case["name"].as_str().unwrap().to_owned();
        let bytes = fs::read(path(&name)).unwrap();
        files.push((name, bytes));
    }
    let mut loaded = 0;
    let each = 20_000 * rounds() / files.len() + 1;
    for (name, bytes) in &files {
        for case in 0..each {
            let mut flipped = bytes.clone();
            for _ in 0..=rng.below(3) {
                let at = rng.below(flipped.len());
                flipped[at] ^= 1 << rng.below(8);
            }
            loaded += usize::from(survives(&flipped, 0, &|| format!("{name}, flip {case}")));
        }
    }
    assert!(loaded > 1000, "most damage must not be caught by one check alone: {loaded}");
}

#[test]
fn damaged_files() {
    let mut rng = Rng(12);
    for case in cases("") {
        let name = case["name"].as_str().unwrap();
        let bytes = fs::read(path(name)).unwrap();
        for round in 0..60 * rounds() {
            survives(&damaged(&mut rng, &bytes, 0), 0, &|| format!("{name}, case {round}"));
        }
    }
}

/// Files that are wrong in one point each.
fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let lstm = || File::lstm(&[]);
    let with = |attribute: Message| File::lstm(&[attribute]).bytes();
    let unary = |op: &str| File::of(vec![node(op, &["x"], &["y"], &[])]);
    let fill = |dims: &[i64], more: Vec<Message>| {
        let mut nodes = vec![node("ConstantOfShape", &["dims"], &["big"], &[])];
        nodes.extend(more);
        File::of(nodes).with(ints("dims", dims)).bytes()
    };
    let nested = |field: u64, depth: usize| {
        (0..depth).fold(Message::default(), |inner, _| Message::default().message(field, &inner))
    };
    let tera = 1i64 << 40;
    let mut all = vec![
        ("nothing", Vec::new()),
        ("a version only", Message::default().int(1, 8).0),
        ("no graph", Message::default().int(1, 8).message(8, &Message::default().int(2, 17)).0),
        ("no operator set", Message::default().int(1, 8).message(7, &Message::default()).0),
        (
            "an empty graph",
            Message::default().int(1, 8).message(7, &Message::default()).message(8, &Message::default().int(2, 17)).0,
        ),
        ("a graph longer than the file", Message::default().int(1, 8).lying(7, 1 << 40, &[0; 20]).0),
        ("a length of 2^63", Message::default().int(1, 8).lying(7, 1 << 63, &[0; 20]).0),
        ("a length of 2^64 - 1", Message::default().int(1, 8).lying(7, u64::MAX, &[0; 20]).0),
        ("a varint without an end", [&[0x08, 0x07][..], &[0xff; 30]].concat()),
        ("groups", [&[0x08, 0x07][..], &[0x0b; 100_000]].concat()),
        ("an unknown field", [Message::default().int(1, 8).0, Message::default().int(99, 1).0].concat()),
        ("two graphs", [lstm().bytes(), Message::default().message(7, &Message::default()).0].concat()),
        ("deep nesting of graphs", Message::default().int(1, 8).message(7, &nested(1, 5000)).0),
        ("deep nesting of attributes", {
            let graph = (0..2000).fold(Message::default(), |inner, _| {
                let attribute = Message::default().bytes(1, "body").message(6, &inner).int(20, 5);
                Message::default().message(1, &Message::default().bytes(4, "Loop").message(5, &attribute))
            });
            Message::default().int(1, 8).message(7, &graph).0
        }),
        ("deep nesting of types", {
            let deep = (0..5000).fold(Message::default(), |inner, _| {
                Message::default().message(4, &Message::default().message(1, &inner))
            });
            lstm().input(Message::default().bytes(1, "z").message(2, &deep)).bytes()
        }),
        ("a sequence as an input", {
            let of = Message::default().message(4, &Message::default().message(1, &Message::default()));
            lstm().input(Message::default().bytes(1, "z").message(2, &of)).bytes()
        }),
        ("names that are no text", {
            let mut file = lstm();
            file.graph = Message::default().bytes(2, [0xff, 0xfe]);
            file.bytes()
        }),
        ("an operator set of the past", lstm().opset(6).bytes()),
        ("an operator set of the future", lstm().opset(9999).bytes()),
        ("an operator set below 0", lstm().opset(-3).bytes()),
        ("operator sets without end", {
            let mut file = lstm();
            file.model = (0..100_000).fold(Message::default(), |m, _| m.message(8, &Message::default()));
            file.bytes()
        }),
        ("a function", {
            let mut file = lstm();
            file.model = Message::default().message(25, &Message::default());
            file.bytes()
        }),
        ("a sparse initializer", {
            let mut file = lstm();
            file.graph = Message::default().message(15, &Message::default());
            file.bytes()
        }),
        ("a cycle", {
            let file = File::of(vec![
                node("Add", &["x", "b"], &["a"], &[]),
                node("Add", &["x", "a"], &["b"], &[]),
                node("Relu", &["a"], &["y"], &[]),
            ]);
            file.bytes()
        }),
        ("a node that reads itself", File::of(vec![node("Add", &["x", "y"], &["y"], &[])]).bytes()),
        (
            "nodes in the wrong order",
            File::of(vec![node("Relu", &["a"], &["y"], &[]), node("Relu", &["x"], &["a"], &[])]).bytes(),
        ),
        (
            "a name made twice",
            File::of(vec![node("Relu", &["x"], &["y"], &[]), node("Tanh", &["x"], &["y"], &[])]).bytes(),
        ),
        ("an input made again", File::of(vec![node("Relu", &["x"], &["x"], &[])]).bytes()),
        ("two inputs of a name", unary("Relu").input(info("x", FLOAT, &[-1])).bytes()),
        ("two initializers of a name", lstm().with(floats("w", &[1, 12, 2])).bytes()),
        ("an output that nothing makes", File::of(Vec::new()).bytes()),
        ("no outputs", {
            let mut file = lstm();
            file.outputs.clear();
            file.bytes()
        }),
        ("no inputs", {
            let mut file = lstm();
            file.inputs.clear();
            file.bytes()
        }),
        ("an input without a type", {
            let mut file = lstm();
            file.inputs = vec![Message::default().bytes(1, "x")];
            file.bytes()
        }),
        ("an input without a shape", {
            let mut file = lstm();
            let of = Message::default().message(1, &Message::default().int(1, 1));
            file.inputs = vec![Message::default().bytes(1, "x").message(2, &of)];
            file.bytes()
        }),
        ("an input of rank 200", {
            let mut file = lstm();
            file.inputs = vec![info("x", FLOAT, &[2; 200])];
            file.bytes()
        }),
        ("an input of a huge size", {
            let mut file = lstm();
            file.inputs = vec![info("x", FLOAT, &[i64::MAX, i64::MAX, 2])];
            file.bytes()
        }),
        ("an input of strings", {
            let mut file = lstm();
            file.inputs = vec![info("x", 8, &[-1, -2, 2])];
            file.bytes()
        }),
        ("an input of rank 2 for an LSTM", {
            let mut file = lstm();
            file.inputs = vec![info("x", FLOAT, &[-1, 2])];
            file.bytes()
        }),
        ("a node without a type", File::of(vec![node("", &["x"], &["y"], &[])]).bytes()),
        ("an unknown operator", unary("Frobnicate").bytes()),
        ("another domain", File::of(vec![node("Relu", &["x"], &["y"], &[]).bytes(7, "com.microsoft")]).bytes()),
        ("control flow", File::of(vec![node("If", &["x"], &["y"], &[])]).bytes()),
        ("no inputs of a node", File::of(vec![node("Add", &[], &["y"], &[])]).bytes()),
        ("too few inputs", File::of(vec![node("Add", &["x"], &["y"], &[])]).bytes()),
        ("too many inputs", File::of(vec![node("Relu", &["x", "x", "x"], &["y"], &[])]).bytes()),
        ("too many outputs", File::of(vec![node("Relu", &["x"], &["a", "y"], &[])]).bytes()),
        ("an unknown attribute", with(attribute_int("magic", 1))),
        ("an attribute twice", with(attribute_int("hidden_size", 3))),
        ("an attribute of another type", with(attribute_text("clip", "high"))),
        (
            "a graph for an attribute",
            with(Message::default().bytes(1, "clip").message(6, &Message::default()).int(20, 5)),
        ),
        ("300 attributes", {
            let all: Vec<Message> = (0..300).map(|i| attribute_int(&format!("a{i}"), 1)).collect();
            File::lstm(&all).bytes()
        }),
        ("a list without end", with(attribute_floats("activation_alpha", &vec![0.5; 70_000]))),
        (
            "a hidden_size of 0",
            File::of(vec![node("LSTM", &["x", "w", "r"], &["y"], &[attribute_int("hidden_size", 0)])])
                .with(floats("w", &[1, 0, 2]))
                .with(floats("r", &[1, 0, 0]))
                .bytes(),
        ),
        (
            "a hidden_size below 0",
            File::of(vec![node("LSTM", &["x", "w", "r"], &["y"], &[attribute_int("hidden_size", -3)])])
                .with(floats("w", &[1, 12, 2]))
                .with(floats("r", &[1, 12, 3]))
                .bytes(),
        ),
        (
            "another hidden_size",
            File::of(vec![node("LSTM", &["x", "w", "r"], &["y"], &[attribute_int("hidden_size", 4)])])
                .with(floats("w", &[1, 12, 2]))
                .with(floats("r", &[1, 12, 3]))
                .bytes(),
        ),
        ("a clip of NaN", with(attribute_float("clip", f32::NAN))),
        ("a clip below 0", with(attribute_float("clip", -1.0))),
        ("an unknown direction", with(attribute_text("direction", "sideways"))),
        ("two directions' weights missing", with(attribute_text("direction", "bidirectional"))),
        ("too few activations", with(attribute_texts("activations", &["Tanh"]))),
        ("an unknown activation", with(attribute_texts("activations", &["Sigmoid", "Tanh", "Magic"]))),
        ("an alpha too many", with(attribute_floats("activation_alpha", &[1.0]))),
        (
            "an infinite alpha",
            File::lstm(&[
                attribute_texts("activations", &["Elu", "Tanh", "Tanh"]),
                attribute_floats("activation_alpha", &[f32::INFINITY]),
            ])
            .bytes(),
        ),
        ("a layout of 2", with(attribute_int("layout", 2))),
        ("weights of another shape", lstm().replaced(0, floats("w", &[1, 12, 5])).bytes()),
        ("weights of rank 1", lstm().replaced(0, floats("w", &[24])).bytes()),
        ("recurrence weights of another shape", lstm().replaced(1, floats("r", &[1, 12, 4])).bytes()),
        ("biases of another shape", lstm().replaced(2, floats("b", &[1, 12])).bytes()),
        ("weights of integers", lstm().replaced(0, ints("w", &[0; 24])).bytes()),
        ("weights that are NaN", lstm().replaced(2, header("b", &[1, 24], FLOAT).bytes(9, [0xff; 96])).bytes()),
        ("a tensor without values", lstm().replaced(0, header("w", &[1, 12, 2], FLOAT)).bytes()),
        (
            "a tensor with half its values",
            lstm().replaced(0, header("w", &[1, 12, 2], FLOAT).bytes(9, [0; 48])).bytes(),
        ),
        (
            "a tensor with too many values",
            lstm().replaced(0, header("w", &[1, 12, 2], FLOAT).bytes(9, [0; 960])).bytes(),
        ),
        ("values in two places", lstm().replaced(0, floats("w", &[1, 12, 2]).float(4, 1.0)).bytes()),
        ("values of another type", lstm().replaced(0, header("w", &[1, 12, 2], FLOAT).int(7, 1)).bytes()),
        ("halves that are too wide", lstm().replaced(0, header("w", &[1, 12, 2], FLOAT16).int(5, 70_000)).bytes()),
        ("an unknown type", lstm().replaced(0, header("w", &[1, 12, 2], 77).bytes(9, [0; 96])).bytes()),
        ("a size below 0", lstm().replaced(0, header("w", &[1, -12, -2], FLOAT).bytes(9, [0; 96])).bytes()),
        (
            "sizes whose product wraps",
            lstm().replaced(0, header("w", &[1 << 32, 1 << 32, 24], FLOAT).bytes(9, [0; 96])).bytes(),
        ),
        ("a tensor of terabytes", lstm().replaced(0, header("w", &[tera], FLOAT).bytes(9, [0; 96])).bytes()),
        ("a tensor of rank 100", lstm().replaced(0, header("w", &[1; 100], FLOAT).bytes(9, [0; 4])).bytes()),
        ("a tensor in segments", lstm().replaced(0, floats("w", &[1, 12, 2]).message(3, &Message::default())).bytes()),
        (
            "packed values that do not come out even",
            lstm().replaced(0, header("w", &[1, 12, 2], FLOAT).bytes(4, [0; 97])).bytes(),
        ),
        ("external data", {
            let entry = Message::default().bytes(1, "location").bytes(2, "weights.bin");
            lstm().replaced(0, header("w", &[1, 12, 2], FLOAT).message(13, &entry).int(14, 1)).bytes()
        }),
        ("terabytes as an initial state", fill(&[1, tera, 3], vec![node("Add", &["x", "big"], &["y"], &[])])),
        (
            "terabytes added to terabytes",
            fill(
                &[tera, tera],
                vec![node("Add", &["big", "big"], &["z"], &[]), node("MatMul", &["x", "z"], &["y"], &[])],
            ),
        ),
        ("terabytes of a range", {
            let nodes = vec![node("Range", &["a", "b", "c"], &["r"], &[]), node("Add", &["x", "r"], &["y"], &[])];
            let scalar = |name: &str, value: i64| header(name, &[], INT64).bytes(9, value.to_le_bytes());
            File::of(nodes).with(scalar("a", 0)).with(scalar("b", tera)).with(scalar("c", 1)).bytes()
        }),
        ("a range that never ends", {
            let nodes = vec![node("Range", &["a", "b", "c"], &["r"], &[]), node("Add", &["x", "r"], &["y"], &[])];
            let scalar = |name: &str, value: i64| header(name, &[], INT64).bytes(9, value.to_le_bytes());
            File::of(nodes).with(scalar("a", 0)).with(scalar("b", 5)).with(scalar("c", 0)).bytes()
        }),
        ("terabytes of copies", {
            let nodes = vec![node("Tile", &["w", "n"], &["t"], &[]), node("Add", &["x", "t"], &["y"], &[])];
            File::of(nodes).with(floats("w", &[2])).with(ints("n", &[tera])).bytes()
        }),
        ("a shape below 0", fill(&[-5, 3], vec![node("Add", &["x", "big"], &["y"], &[])])),
        ("a reshape to nothing", {
            let nodes = vec![node("Reshape", &["x", "s"], &["y"], &[])];
            File::of(nodes).with(ints("s", &[-1, -1])).bytes()
        }),
        ("a reshape of another size", {
            let nodes = vec![node("Reshape", &["x", "s"], &["y"], &[])];
            File::of(nodes).with(ints("s", &[7, 13])).bytes()
        }),
        ("a reshape to a million axes", {
            let nodes = vec![node("Reshape", &["x", "s"], &["y"], &[])];
            File::of(nodes).with(ints("s", &vec![1; 1 << 20])).bytes()
        }),
        (
            "a transpose of other axes",
            File::of(vec![node("Transpose", &["x"], &["y"], &[attribute_ints("perm", &[0, 0, 1])])]).bytes(),
        ),
        (
            "an axis that is not there",
            File::of(vec![node("Softmax", &["x"], &["y"], &[attribute_int("axis", 9)])]).bytes(),
        ),
        (
            "an axis of i64::MIN",
            File::of(vec![node("Softmax", &["x"], &["y"], &[attribute_int("axis", i64::MIN)])]).bytes(),
        ),
        ("a slice by 0", {
            let nodes = vec![node("Slice", &["x", "a", "b", "c", "d"], &["y"], &[])];
            File::of(nodes)
                .with(ints("a", &[0]))
                .with(ints("b", &[1]))
                .with(ints("c", &[1]))
                .with(ints("d", &[0]))
                .bytes()
        }),
        ("a slice by i64::MIN", {
            let nodes = vec![node("Slice", &["x", "a", "b", "c", "d"], &["y"], &[])];
            File::of(nodes)
                .with(ints("a", &[i64::MAX]))
                .with(ints("b", &[i64::MIN]))
                .with(ints("c", &[1]))
                .with(ints("d", &[i64::MIN]))
                .bytes()
        }),
        ("a division of integers by 0", {
            let nodes = vec![node("Div", &["a", "b"], &["c"], &[]), node("Reshape", &["x", "c"], &["y"], &[])];
            File::of(nodes).with(ints("a", &[1])).with(ints("b", &[0])).bytes()
        }),
        ("the division of i64::MIN by -1", {
            let nodes = vec![node("Div", &["a", "b"], &["c"], &[]), node("Reshape", &["x", "c"], &["y"], &[])];
            File::of(nodes).with(ints("a", &[i64::MIN])).with(ints("b", &[-1])).bytes()
        }),
        ("a gather from outside", {
            let nodes = vec![node("Gather", &["x", "i"], &["y"], &[attribute_int("axis", 2)])];
            File::of(nodes).with(ints("i", &[2])).bytes()
        }),
        (
            "a convolution of stride 0",
            File::of(vec![node("Conv", &["x", "w"], &["y"], &[attribute_ints("strides", &[0])])])
                .with(floats("w", &[4, 2, 3]))
                .bytes(),
        ),
        (
            "a convolution of 0 groups",
            File::of(vec![node("Conv", &["x", "w"], &["y"], &[attribute_int("group", 0)])])
                .with(floats("w", &[4, 2, 3]))
                .bytes(),
        ),
        (
            "a pool of terabytes",
            File::of(vec![node("MaxPool", &["x"], &["y"], &[attribute_ints("kernel_shape", &[tera])])]).bytes(),
        ),
        (
            "padding of terabytes below 0",
            File::of(vec![node("Pad", &["x", "p"], &["y"], &[])]).with(ints("p", &[0, 0, -tera, 0, 0, 0])).bytes(),
        ),
        (
            "a constant without a value",
            File::of(vec![node("Constant", &[], &["c"], &[]), node("Add", &["x", "c"], &["y"], &[])]).bytes(),
        ),
        ("a constant in a constant", {
            let nodes = vec![
                node("Constant", &[], &["c"], &[attribute_tensor("value", &header("", &[tera, tera], FLOAT))]),
                node("Add", &["x", "c"], &["y"], &[]),
            ];
            File::of(nodes).bytes()
        }),
    ];
    // Operators one after the other that double the size of what they are given.
    let mut doubling = vec![node("Concat", &["w", "w"], &["t0"], &[attribute_int("axis", 0)])];
    for i in 1..60 {
        let (from, to) = (format!("t{}", i - 1), format!("t{i}"));
        doubling.push(node("Concat", &[&from, &from], &[&to], &[attribute_int("axis", 0)]));
    }
    doubling.push(node("Add", &["x", "t59"], &["y"], &[]));
    all.push(("doubling constants", File::of(doubling).with(floats("w", &[1024])).bytes()));
    let mut multiplied = vec![node("Shape", &["x"], &["t0"], &[])];
    for i in 1..80 {
        let (from, to) = (format!("t{}", i - 1), format!("t{i}"));
        multiplied.push(node("Mul", &[&from, &from], &[&to], &[]));
    }
    multiplied.push(node("Reshape", &["x", "t79"], &["y"], &[]));
    all.push(("sizes to the power of 2^79", File::of(multiplied).bytes()));
    let mut added = vec![node("Shape", &["x"], &["s"], &[]), node("Add", &["s", "one"], &["t0"], &[])];
    for i in 1..40 {
        let (from, to) = (format!("t{}", i - 1), format!("t{i}"));
        added.push(node("Mul", &[&from, &from], &[&to], &[]));
    }
    added.push(node("Reshape", &["x", "t39"], &["y"], &[]));
    all.push(("polynomials of a great degree", File::of(added).with(ints("one", &[1, 1, 1])).bytes()));
    all
}

#[test]
fn malformed_files_are_refused() {
    let all = malformed();
    assert!(all.len() >= 50, "{}", all.len());
    for (name, bytes) in &all {
        assert!(!survives(bytes, 0, &|| (*name).to_owned()), "{name} was loaded");
    }
    println!("{} malformed files", all.len());
}

/// Files whose parts take more room in memory than in the file.
#[test]
fn many_small_parts() {
    let graph = |field: u64, message: &[u8], count: usize| {
        let mut bytes = Message::default().bytes(field, message).0.repeat(count);
        bytes.extend(Message::default().bytes(2, "graph").0);
        Message::default().int(1, 8).bytes(7, bytes).message(8, &Message::default().int(2, 17)).0
    };
    for field in [1, 5, 11, 12] {
        assert!(!survives(&graph(field, &[], 2 * MIB), 0, &|| format!("empty messages in field {field}")));
    }
    let names = Message::default().bytes(1, "").0.repeat(4 * MIB);
    assert!(!survives(&graph(1, &names, 1), 0, &|| "a node of a million inputs".to_owned()));
    let names = Message::default().bytes(1, "").0.repeat(8);
    assert!(!survives(&graph(1, &names, MIB / 4), 0, &|| "nodes of eight inputs".to_owned()));
    // A long chain of nodes, all under one name.
    for count in [10_000, 40_000] {
        let names: Vec<String> = (0..=count)
            .map(|i| {
                if i == 0 {
                    "x".to_owned()
                } else if i == count {
                    "y".to_owned()
                } else {
                    format!("t{i}")
                }
            })
            .collect();
        let nodes = names.windows(2).map(|pair| node("Identity", &[&pair[0]], &[&pair[1]], &[])).collect();
        assert!(survives(&File::of(nodes).bytes(), 0, &|| format!("{count} nodes in a row")));
        if count < 20_000 {
            let nodes = names.windows(2).map(|pair| node("Relu", &[&pair[0]], &[&pair[1]], &[])).collect();
            survives(&File::of(nodes).bytes(), 0, &|| format!("{count} functions in a row"));
        }
    }
}

/// Large weights take their own size a few times over, and no more.
#[test]
fn large_files_take_three_times_their_size() {
    let hidden = 1200i64;
    let node = || node("LSTM", &["x", "w", "r"], &["y"], &[attribute_int("hidden_size", hidden)]);
    let large =
        File::of(vec![node()]).with(floats("w", &[1, 4 * hidden, 2])).with(floats("r", &[1, 4 * hidden, hidden]));
    assert!(survives(&large.bytes(), 0, &|| "a large LSTM".to_owned()));
    // The same weights, used again and again, transposed each time.
    let mut nodes = Vec::new();
    for i in 0..200 {
        nodes.push(onnx_write::node("Transpose", &["big"], &[&format!("t{i}")], &[attribute_ints("perm", &[1, 0])]));
        let from = if i == 0 { "x".to_owned() } else { format!("y{}", i - 1) };
        let to = if i == 199 { "y".to_owned() } else { format!("y{i}") };
        nodes.push(onnx_write::node("MatMul", &[&from, &format!("t{i}")], &[&to], &[]));
    }
    let mut shared = File::of(nodes).with(floats("big", &[1500, 1500]));
    shared.inputs = vec![info("x", FLOAT, &[-1, 1500])];
    assert!(!survives(&shared.bytes(), 0, &|| "weights transposed 200 times".to_owned()));
}
