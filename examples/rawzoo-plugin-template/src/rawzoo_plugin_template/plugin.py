"""What the plugin offers. rawzoo imports this at every start, so it imports no torch; `network` does."""

from fractions import Fraction

import rawzoo


@rawzoo.hookimpl
def rawzoo_register_models(register):
    register(
        rawzoo.ModelCard(
            name="packed-bilinear",
            task="demosaic",
            architecture="rawzoo_plugin_template.network:PackedDemosaic",
            config={"channels": 4},
            summary="Bilinear demosaicing as one 3x3 convolution over packed planes; the plugin template's model.",
            input="packed",
            output="camera-rgb",
            # The kernels know where in the 2x2 tile each plane was sampled. rawzoo shifts other phases to this one.
            cfa="RGGB",
            # Packed planes have half the mosaic's size; the picture has all of it.
            scale=Fraction(2),
            # A 3x3 convolution sees one packed pixel in each direction.
            halo=1,
            dtypes=("float32", "bfloat16", "float16"),
            weights={
                "analytic": rawzoo.Weights(
                    where="package:rawzoo_plugin_template/weights/packed-bilinear.safetensors",
                    sha256="1f8ca12ab8895393c7b102e56f9cfa6ad2c9ccc8afa11d0e9d3ed24b40881b9a",
                    licence="Apache-2.0",
                    trained_on="nothing: computed by scripts/make_weights.py",
                )
            },
            licence="Apache-2.0",
        )
    )
