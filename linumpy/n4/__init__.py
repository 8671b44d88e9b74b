"""N4ITK, computed separably: sample grids, B-spline lattices, and the fit.

`linumpy.n4.fit.fit_log_bias_field` fits, `linumpy.n4.lattice.Lattice` is what comes out, and
`linumpy.n4.grid.SampleGrid` says which voxels go in. Nothing is imported until it is asked for: a script that
only reads a lattice loads neither Numba nor SimpleITK.
"""
