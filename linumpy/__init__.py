"""N4 bias-field correction of serial optical acquisitions.

The public functions are in `linumpy.intensity.bias_field`; importing the package itself touches no GPU, reads
no file and loads none of its dependencies.
"""

__version__ = "0.1.0"
