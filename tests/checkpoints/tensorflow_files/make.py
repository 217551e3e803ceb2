"""Made the files beside this one, with TensorFlow 2.21 and Keras 3.15: what the readers have to agree with.

Not run by the tests, which need no TensorFlow. ``expected.npz`` has the values by file and name.
"""

import os
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

HERE = Path(__file__).parent
tf1 = tf.compat.v1
rng = np.random.default_rng(0)
expected = {}


def normal(*shape):
    return rng.standard_normal(shape).astype(np.float32)


# A checkpoint of TensorFlow 1: partitioned variable, slots of Adam, moving averages, steps, several dtypes.
with tf.Graph().as_default():

    def variable(name, value, **options):
        return tf1.get_variable(name, initializer=value, use_resource=False, **options)

    with tf1.variable_scope("net"):
        kernel = variable("conv/kernel", normal(3, 3, 2, 4))
        bias = variable("conv/bias", normal(4))
        parts = tf1.get_variable("part", (70, 3), partitioner=tf1.fixed_size_partitioner(3), use_resource=False)
        variable("half", normal(5).astype(np.float16), trainable=False)
        variable("brain", tf.cast(normal(5), tf.bfloat16), trainable=False)
        variable("flags", np.array([True, False]), trainable=False)
        variable("text", "hello", trainable=False)
    step = tf1.train.get_or_create_global_step()
    loss = tf.reduce_sum(kernel**2) + tf.reduce_sum(bias**2) + tf.add_n([tf.reduce_sum(p**2) for p in parts])
    train = tf1.train.AdamOptimizer().minimize(loss, global_step=step)
    average = tf1.train.ExponentialMovingAverage(0.9).apply([kernel, bias])
    with tf1.Session() as session:
        late = [v for v in tf1.global_variables() if "Moving" in v.name or "Adam" in v.name]
        session.run(tf1.variables_initializer([v for v in tf1.global_variables() if v not in late]))
        session.run(tf1.variables_initializer(late))
        for _ in range(3):
            session.run(train)
            session.run(average)
        prefix = tf1.train.Saver().save(session, str(HERE / "v1" / "model.ckpt"), step, write_meta_graph=False)
# TensorFlow writes the machine's path; readers must not follow it.
(HERE / "v1" / "checkpoint").write_text('model_checkpoint_path: "/somewhere/else/model.ckpt-3"\n')
reader = tf.train.load_checkpoint(prefix)
for name in reader.get_variable_to_shape_map():
    value = reader.get_tensor(name)
    if name != "net/text":
        expected[f"v1:{name}"] = value.astype(np.float32) if value.dtype.name == "bfloat16" else value

# A frozen graph.
with tf.Graph().as_default():
    image = tf1.placeholder(tf.float32, (None, 8, 8, 2), "sr_input")
    weights = {"net/kernel": normal(3, 3, 2, 4), "net/bias": np.full(4, 0.25, np.float32)}
    k, b = (tf.constant(value, name=name) for name, value in weights.items())
    tf.constant(np.array([1, -2], np.int64), name="ints")
    tf.constant(1.5, tf.bfloat16, (3,), name="brain")
    tf.nn.bias_add(tf.nn.conv2d(image, k, 1, "SAME"), b, name="sr_output")
    graph = tf1.get_default_graph().as_graph_def()
    (HERE / "frozen.pb").write_bytes(graph.SerializeToString())
    expected |= {f"frozen:{name}": value for name, value in weights.items()}
    expected["frozen:ints"] = np.array([1, -2])
    expected["frozen:brain"] = np.full(3, 1.5, np.float32)

# Keras, in all its forms, and as an object graph.
model = keras.Sequential(
    [
        keras.Input((6, 6, 2)),
        keras.layers.Conv2D(4, 3, name="first"),
        keras.layers.DepthwiseConv2D(3),
        keras.layers.Flatten(),
        keras.layers.Dense(3),
    ],
    name="net",
)
for v in model.variables:
    v.assign(normal(*v.shape))
expected |= {f"keras:{v.path}": np.asarray(v) for v in model.variables}
model.save(HERE / "model.keras")
model.save(HERE / "model.h5")
model.compile("sgd", "mse")
model.fit(normal(2, 6, 6, 2), normal(2, 3), verbose=0, epochs=0)
tf.train.Checkpoint(model=model, step=tf.Variable(7)).save(str(HERE / "objects" / "ckpt"))

# TensorFlow Lite: float, and int8 in weights and activations, with what TensorFlow itself makes of the integers.
for name in ("float", "int8"):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if name == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([normal(1, 6, 6, 2)] for _ in range(5))
    path = HERE / f"{name}.tflite"
    path.write_bytes(converter.convert())
    interpreter = tf.lite.Interpreter(str(path))
    interpreter.allocate_tensors()
    for detail in interpreter.get_tensor_details():
        try:
            value = interpreter.get_tensor(detail["index"])
        except ValueError:
            continue
        quantised = detail["quantization_parameters"]
        if len(quantised["scales"]) and value.dtype != np.float32:
            shape = [1] * value.ndim
            if len(quantised["scales"]) > 1:
                shape[quantised["quantized_dimension"]] = -1
            value = (value.astype(np.float64) - quantised["zero_points"].reshape(shape)) * quantised["scales"].astype(
                np.float64
            ).reshape(shape)
            value = value.astype(np.float32)
        expected[f"{name}:{detail['name']}"] = value

np.savez_compressed(HERE / "expected.npz", **{name.replace("/", "|"): value for name, value in expected.items()})
