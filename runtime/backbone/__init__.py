"""Bundle, engine, cache, vocabulary: from input latents to output latents and tokens.

Import from the modules (``innervate.runtime.backbone.engine`` and so on); onnxruntime loads with the first session.
"""
