// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_FUSE_H
#define TT_RUNTIME_FUSE_H

#include "runtime/infer.h"

/*
 * Recognise what exporters write out in many nodes, and make each into the one that it is:
 *
 *   LayerNormalization   ReduceMean Sub Pow (or Mul) ReduceMean Add Sqrt Div Mul [Add]
 *                        ReduceMean Add Sqrt Reciprocal Mul Mul Neg Mul Add Add, Keras' way
 *   Gelu                 Div (or Mul) Erf Add Mul Mul
 *   tt.Swish             Sigmoid Mul
 *   Conv                 Pad Conv, of zeros
 *   tt.Linear            MatMul Add
 *   tt.LinearSum         MatMul Add Add
 *   tt.Attention         3 Transpose [Mul or Div] MatMul [Mul or Div] Softmax MatMul Transpose
 *
 * Attention may have its NaN weights replaced by 0, and a Reshape around the transposed keys; one
 * to the shape that there is is left out, and a Pad of nothing.  And, where a Gather of constant
 * indices takes the first rows of a sequence, as classifiers take the class token, keep rows that
 * nobody asks for from being made: Slice moves up through what works row by row, attention's
 * queries included, to where all rows are needed.  An encoder's last layer then only costs its keys
 * and values, forward and backward.
 *
 * The last node of a pattern becomes the operator, of the same operands, so that a scale is the
 * same value of the graph as before, and of the kind that it is; the others stay, for whoever else
 * uses them.  This is done when a model is read, not when it is compiled: a parameter's kind
 * follows from the operator that uses it.
 *
 * probes are the shapes of g's values; what is made lives in arena.
 */
TT_MUST_CHECK enum tt_code tt_fuse(struct tt_graph *g, const struct tt_probe *probes,
                                   struct tt_arena *arena, struct tt_err *err);

#endif
